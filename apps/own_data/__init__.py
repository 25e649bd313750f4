"""Your own pictures, tables and series: trains a model worth having, reports on it, and uses it."""
