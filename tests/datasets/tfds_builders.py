"""Shared by the tests of TFDS builders, whose files are put into `manual_dir` by hand."""

import tempfile

import tensorflow_datasets as tfds


class ManualFiles:
    """Mixin before `tfds.testing.DatasetBuilderTestCase`: `write(folder)` makes the example files."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.EXAMPLE_DIR = folder.name
        cls.write(folder.name)
        super().setUpClass()


def load(name, tmp_path, **arguments):
    """The data set of the files under `tmp_path / "manual"`, prepared under `tmp_path / "data"`."""
    return tfds.load(
        name,
        data_dir=tmp_path / "data",
        download_and_prepare_kwargs={"download_config": tfds.download.DownloadConfig(manual_dir=tmp_path / "manual")},
        **arguments,
    )
