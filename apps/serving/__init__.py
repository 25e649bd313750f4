"""A server of exports on plain TensorFlow, with the REST and gRPC interfaces of TensorFlow Serving."""
