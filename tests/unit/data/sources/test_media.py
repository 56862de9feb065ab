"""Folders of images and recordings, written by real encoders: right ones come back, others get a sentence each."""

import io
import sys

import numpy as np
import pytest
import soundfile
from PIL import Image
from pydantic import ValidationError
from scipy.signal import resample_poly

from parse_p2p.core.errors import ConfigError, DataWarning
from parse_p2p.data.base import fingerprint
from parse_p2p.data.lazy import LazyInput
from parse_p2p.data.sources import media

RED, GREEN = (255, 0, 51), (0, 204, 0)
PHOTO = {"photo": {"size": [2, 3]}}
SOUND = {"sound": {"rate": 8000, "seconds": 0.001}}
LINES = ["y,photo,sound", "cat,a.png,s/a.wav", "dog,b.png,s/b.flac", "cat,a.png,s/b.flac"]


def image(path, pixels, **options):
    """Written from (height, width[, channels])."""
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path, **options)


def plain(colour, height=2, width=3):
    return np.full((height, width, 3), colour, np.uint8)


def recording(path, samples, rate=8000, **options):
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, np.asarray(samples, np.float32), rate, **options)


def table(tmp_path, *lines, name="metadata.csv", encoding="utf-8"):
    (tmp_path / name).write_bytes("\n".join([*lines, ""]).encode(encoding))


@pytest.fixture
def folder(tmp_path):
    """Two images and two recordings, with a table."""
    image(tmp_path / "a.png", plain(RED))
    image(tmp_path / "b.png", plain(GREEN))
    recording(tmp_path / "s" / "a.wav", [0.5] * 8)
    recording(tmp_path / "s" / "b.flac", [-0.25, 0.125] * 4)
    table(tmp_path, *LINES)
    return tmp_path


def opened(path, **options):
    return media.open(media.Options(**{"path": path, "images": PHOTO} | options), 0)


def only(path, **options):
    """The one sample of a modality."""
    [sample], *more = opened(path, **options).inputs.values()
    assert not more
    return sample.numpy()


def one_image(tmp_path, **options):
    table(tmp_path, "y,photo", "cat,a.png")
    return only(tmp_path, images={"photo": {"size": [2, 3], **options}})


def one_recording(tmp_path, name, **options):
    table(tmp_path, "y,sound", f"cat,{name}")
    return only(tmp_path, images={}, audio={"sound": {"rate": 8000, "seconds": 0.001, **options}})[0]


def refused(*arguments, call=opened, **options):
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# a table


@pytest.mark.filterwarnings("ignore::parse_p2p.core.errors.DataWarning")
def test_files_may_be_decoded_when_they_are_asked_for(folder):
    table(folder, *LINES, "dog,,s/a.wav")
    whole, found = (opened(folder, audio=SOUND, lazy=lazy) for lazy in (False, True))
    assert all(isinstance(x, LazyInput) for x in found.inputs.values())
    one, other = found.select([3, 1]).batch([1, 0, 0]), whole.batch([1, 3, 3])
    assert one.present["photo"].tolist() == other.present["photo"].tolist() == [True, False, False]
    for m in found.modalities:
        assert found.shape(m) == whole.shape(m) and (one.inputs[m] == other.inputs[m]).all()
    assert fingerprint([found]) == fingerprint([whole])
    image(folder / "b.png", plain(RED))
    found.batch([0, 2])
    assert refused([1], call=found.batch) == (
        f"'b.png' in line 3 of {folder / 'metadata.csv'} was written to since it was opened; put it back; a run goes "
        "on with --resume"
    )
    (folder / "b.png").unlink()
    assert "'b.png' in line 3" in (said := refused([1], call=found.batch)) and "does not exist" in said
    assert refused(folder, lazy=True) == refused(folder), "what is broken is found when the data are opened"


def test_so_may_those_of_folders(tmp_path):
    for name, colour in (("cat/a.png", RED), ("cat/b.png", GREEN), ("dog/a.png", GREEN)):
        image(tmp_path / name, plain(colour))
    whole, found = (opened(tmp_path, lazy=lazy) for lazy in (False, True))
    assert isinstance(found.inputs["photo"], LazyInput) and fingerprint([found]) == fingerprint([whole])
    (tmp_path / "dog" / "a.png").write_bytes(b"no image")
    assert "is no image" in (said := refused(tmp_path, lazy=True)) and said == refused(tmp_path)


def test_a_table_names_the_files_of_each_sample(folder):
    dataset = opened(folder, audio=SOUND)
    assert dataset.name == folder.name and dataset.modalities == ("photo", "sound") and dataset.groups is None
    assert dataset.labels == ("cat", "dog") and dataset.targets.tolist() == [0, 1, 0]
    photos, sounds = dataset.inputs["photo"], dataset.inputs["sound"]
    assert photos.shape == (3, 3, 2, 3) and sounds.shape == (3, 1, 8)
    assert {photos.dtype, sounds.dtype} == {dataset.inputs["photo"].float().dtype}
    for row, colour in enumerate((RED, GREEN, RED)):
        expected = np.broadcast_to((np.float32(colour) / np.float32(255))[:, None, None], (3, 2, 3))
        assert np.array_equal(photos[row], expected)
    assert sounds[0].tolist() == [[0.5] * 8] and sounds[1].tolist() == sounds[2].tolist() == [[-0.25, 0.125] * 4]


def test_columns_labels_and_groups_are_those_that_are_named(folder):
    lines = ["kind,who,file", "0,eva,a.png", "", '"1","ada",./b.png']
    table(folder, *lines, name="mine.csv", encoding="utf-8-sig")
    options = {"table": "mine.csv", "target": "kind", "images": {"photo": {"column": "file", "size": [2, 3]}}}
    dataset = opened(folder, **options, group="who", labels={0: "rest"}, classes=["1", "2", "rest"])
    assert dataset.labels == ("1", "2", "rest") and dataset.targets.tolist() == [2, 0]
    assert dataset.groups.tolist() == [1, 0]
    assert opened(folder, **options).groups is None
    table(folder, "y,photo,groups", "cat,a.png,k", "dog,b.png,l")
    assert opened(folder).groups.tolist() == [0, 1]


def test_weights_are_a_column_of_the_table(folder):
    table(folder, "y,photo,w", "a,a.png,2", "b,b.png, 0.5")
    assert opened(folder, weight="w").weights.tolist() == [2, 0.5]
    table(folder, "y,photo,part", "a,a.png,train", "b,b.png,test")
    assert opened(folder, official="part").official.tolist() == [False, True]
    table(folder, "y,photo,w", "a,a.png,2", "b,b.png,much")
    assert "column 'w' of" in (said := refused(folder, weight="w")) and "the text 'much' in line 3" in said


def test_a_sample_without_a_file_lacks_the_modality(folder):
    table(folder, "y,photo,sound", "a,a.png,s/a.wav", "b,,s/b.flac", "b,b.png, ")
    with pytest.warns(DataWarning) as noted:
        found = opened(folder, audio={"sound": {"rate": 8000, "seconds": 0.001}})
    assert [str(each.message).split(" lack ")[1].split(",")[0] for each in noted] == ["'photo'", "'sound'"]
    assert found.name == folder.name
    assert found.present["photo"].tolist() == [True, False, True] and not found.inputs["photo"][1].any()
    assert found.present["sound"].tolist() == [True, True, False] and not found.inputs["sound"][2].any()


def test_what_is_wrong_with_a_table_is_said_with_its_line(folder):
    where = folder / "metadata.csv"
    for lines, words in [
        (["y,photos", "a,a.png"], f"there is no column 'photo' in {where}; did you mean 'photos'?"),
        (["z,photo", "a,a.png"], f"there is no column 'y' in {where}; Known: photo, z"),
        (["y,photo", "a, ", "b,"], f"column 'photo' of {where} has no values at all; leave it out"),
        (["y,photo", "a,a.png", ",a.png"], f"column 'y' of {where} has an empty cell in line 3; fill it"),
        (["y,photo,groups", "a,a.png,"], f"column 'groups' of {where} has an empty cell in line 2; fill it"),
        (["y,photo", "a"], f"line 2 of {where} has 1 cells, but its first line 2; give every line"),
        (["y,photo", 'a,"b"c'], f"line 2 of {where} cannot be read as CSV ("),
        (["y,photo,y", "a,a.png,b"], f"column 'y' stands twice in {where}; give each"),
        (["y,photo"], f"data file {where} has no rows; give at least one"),
        ([""], f"data file {where} has no rows; give at least one"),
        (["y,photo", "-1,a.png"], f"column 'y' of {where} has the label '-1', as where there is no class; leave"),
    ]:
        table(folder, *lines)
        assert refused(folder).startswith(words)
    table(folder, "y,photo", "ä,a.png", encoding="latin-1")
    assert refused(folder) == f"line 2 of {where} is not UTF-8; save it in UTF-8"
    where.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert refused(folder) == f"data file {where} is a pointer of Git LFS and not the file; get it with git lfs pull"
    assert f"there is no column 'who' in {where}" in (table(folder, *LINES), refused(folder, group="who"))[1]


def test_a_file_that_a_cell_names_is_there_and_inside_the_folder(folder):
    where = f"in line 2 of {folder / 'metadata.csv'}"
    for cell, words in [
        ("c.png", f"does not exist in {folder}; save it there, or correct its name"),
        ("s", "cannot be read (Is a directory); give the path of a file"),
        ("a.png/b", "cannot be read (Not a directory); give the path of a file"),
        ("n" * 300, "cannot be read (File name too long); give the path of a file"),
        *[
            (path, f"leads out of the folder; give a path from {folder} on, without ..")
            for path in ("../a.png", "s/../../a.png", "/etc/passwd", "s\\..\\..\\a.png", "C:\\a.png", "\\a.png")
        ],
    ]:
        table(folder, "y,photo", f"cat,{cell}")
        assert refused(folder) == f"{cell!r} {where} {words}"
    (folder / "a.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    table(folder, *LINES)
    assert refused(folder) == f"'a.png' {where} is a pointer of Git LFS and not the file; get it with git lfs pull"


def test_a_folder_or_table_that_is_not_there_is_said(folder):
    assert refused(folder / "no").startswith(f"data folder {folder / 'no'} does not exist; correct")
    assert refused(folder, table="no.csv").startswith(f"data file {folder / 'no.csv'} does not exist in {folder}; ")
    assert refused(folder, images={}).startswith(f"neither data.images nor data.audio says what the files of {folder}")
    (folder / "metadata.csv").unlink()
    for option in ({"group": "who"}, {"images": {"photo": {"size": [2, 3], "column": "file"}}}):
        assert "metadata.csv does not exist" in refused(folder, **option)


# images


def test_images_have_the_colours_that_are_asked_for(tmp_path):
    image(tmp_path / "a.png", np.array([[0, 51, 255]] * 2, np.uint8))
    grey = one_image(tmp_path, colours="grey")
    assert grey.shape == (1, 2, 3) and np.allclose(grey, [[[0, 0.2, 1]] * 2], atol=1e-7)
    assert np.array_equal(one_image(tmp_path), np.repeat(grey, 3, 0))
    image(tmp_path / "a.png", plain((255, 0, 0)))
    assert np.allclose(one_image(tmp_path, colours="grey"), 76 / 255)


def test_what_is_transparent_and_palettes_become_colours(tmp_path):
    image(tmp_path / "a.png", np.full((2, 3, 4), (*RED, 9), np.uint8))
    rgba = one_image(tmp_path)
    Image.fromarray(plain(RED)).quantize(2).save(tmp_path / "a.png", transparency=b"\0\7")
    assert np.array_equal(rgba, one_image(tmp_path)) and np.allclose(rgba[:, 0, 0], (1, 0, 0.2))


def test_images_of_16_bits_keep_their_range(tmp_path):
    image(tmp_path / "a.png", np.array([[0, 256, 65535]] * 2, np.uint16))
    for colours, channels in (("grey", 1), ("rgb", 3)):
        values = one_image(tmp_path, colours=colours)
        assert values.shape == (channels, 2, 3) and np.allclose(values, [[[0, 256 / 65535, 1]] * 2] * channels)
    for pixels in (np.full((2, 3), 0.5, np.float32), np.full((2, 3), 70000, np.int32), np.full((2, 3), -1, np.int32)):
        image(tmp_path / "a.png", pixels, format="TIFF")
        said = refused(tmp_path, call=one_image)
        assert said == f"'a.png' in line 2 of {tmp_path / 'metadata.csv'} has pixels of 32 bits; save it with 8 or 16"


def test_images_are_turned_as_the_camera_says(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6  # to be turned by a quarter, clockwise
    image(tmp_path / "a.png", np.array([[0, 51], [102, 153], [204, 255]], np.uint8), exif=tags)
    values = one_image(tmp_path, colours="grey") * 5
    assert np.allclose(values, [[[4, 2, 0], [5, 3, 1]]], atol=1e-6)


def test_images_are_resized_smoothly(tmp_path):
    stripes = np.zeros((64, 96), np.uint8)
    stripes[:, ::2] = 255
    image(tmp_path / "a.png", stripes)
    assert np.abs(one_image(tmp_path, colours="grey") - 0.5).max() < 0.02, "each pixel is the mean of what it covers"
    image(tmp_path / "a.png", np.array([[0, 255]], np.uint8))
    row = one_image(tmp_path, colours="grey", size=[1, 4])[0, 0]
    assert np.allclose(row, [0, 0.25, 0.75, 1], atol=0.01)
    image(tmp_path / "a.png", np.array([[0, 65535]], np.uint16))
    assert np.allclose(one_image(tmp_path, colours="grey", size=[1, 4])[0, 0], [0, 0.25, 0.75, 1], atol=1e-6)


def test_jpeg_and_others_are_read(tmp_path):
    for kind in ("JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"):
        image(tmp_path / "a.png", plain((200, 100, 50), 16, 24), format=kind)
        assert np.allclose(one_image(tmp_path)[:, 0, 0] * 255, (200, 100, 50), atol=4), kind


def test_what_is_no_whole_image_is_said(tmp_path):
    where = f"'a.png' in line 2 of {tmp_path / 'metadata.csv'}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for kind in ("PNG", "JPEG"):
        image(tmp_path / "a.png", noise, format=kind)
        (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
        assert refused(tmp_path, call=one_image).startswith(f"{where} is no whole image (OSError: ")
    for data in (b"", b"y,photo\n", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"):
        (tmp_path / "a.png").write_bytes(data)
        said = refused(tmp_path, call=one_image)
        assert said == f"{where} is no image; give PNG, JPEG, WEBP, BMP, GIF, TIFF or PPM"
    image(tmp_path / "a.png", plain(RED))
    broken = bytearray((tmp_path / "a.png").read_bytes())
    broken[20] ^= 1  # the width, against its checksum
    (tmp_path / "a.png").write_bytes(broken)
    assert refused(tmp_path, call=one_image).startswith(f"{where} is no ")


@pytest.mark.parametrize("most", [8, 4, 1])
def test_an_image_of_too_many_pixels_is_refused(tmp_path, monkeypatch, most):
    image(tmp_path / "a.png", plain(RED, 3, 3))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
    said = refused(tmp_path, call=one_image)
    assert said.startswith("'a.png' in line 2 of ")
    assert said.endswith(f"metadata.csv has more than {most} pixels; make it smaller")


# recordings


def test_recordings_are_cut_and_filled_with_zeros(tmp_path):
    for name in ("a.wav", "a.flac"):
        recording(tmp_path / name, np.arange(8) / 8)
        assert one_recording(tmp_path, name).tolist() == (np.arange(8) / 8).tolist()
        assert one_recording(tmp_path, name, seconds=0.0005).tolist() == [0, 0.125, 0.25, 0.375]
        assert one_recording(tmp_path, name, seconds=0.0015).tolist() == [*(np.arange(8) / 8), 0, 0, 0, 0]


def test_channels_are_mixed(tmp_path):
    recording(tmp_path / "a.wav", [[0.5, 0.25, 0.75], [0.5, -0.5, 0]])
    assert one_recording(tmp_path, "a.wav", seconds=0.00025).tolist() == [0.5, 0]


@pytest.mark.parametrize("rate", [44100, 16000, 3000, 8001])
def test_rates_are_changed_as_if_the_whole_were(tmp_path, rate):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, rate).astype(np.float32)
    recording(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    whole = resample_poly(samples, 8000, rate)
    assert np.allclose(one_recording(tmp_path, "a.wav", seconds=1), whole[:8000], atol=1e-6)
    assert np.allclose(one_recording(tmp_path, "a.wav", seconds=0.1), whole[:800], atol=1e-6)
    longer = one_recording(tmp_path, "a.wav", seconds=1.5)
    assert len(longer) == 12000 and np.allclose(longer[:8000], whole[:8000], atol=1e-6) and not longer[8000:].any()


def test_lossy_recordings_are_read(tmp_path):
    wave = 0.5 * np.sin(np.arange(8000) / 10)
    for name in ("a.ogg", "a.mp3"):
        recording(tmp_path / name, wave)
        assert np.corrcoef(one_recording(tmp_path, name, seconds=1), wave)[0, 1] > 0.9


def test_what_is_no_recording_is_said(tmp_path):
    where = f"in line 2 of {tmp_path / 'metadata.csv'}"
    noise = np.random.default_rng(0).uniform(-1, 1, 9000)
    recording(tmp_path / "a.flac", noise)
    (tmp_path / "a.flac").write_bytes((tmp_path / "a.flac").read_bytes()[:9000])
    said = refused(tmp_path, "a.flac", call=one_recording, seconds=1)
    assert said.startswith(f"'a.flac' {where} is no whole recording (")
    for data in (b"", b"RIFF", b"y,sound\n" * 9):
        (tmp_path / "a.wav").write_bytes(data)
        said = refused(tmp_path, "a.wav", call=one_recording)
        assert said.startswith(f"'a.wav' {where} is no whole recording (")
        assert said.endswith("; give WAV, FLAC, Ogg or MP3") and "BytesIO" not in said
    recording(tmp_path / "a.wav", [])
    assert f"'a.wav' {where} holds no samples; record some" in refused(tmp_path, "a.wav", call=one_recording)
    recording(tmp_path / "a.wav", [0, np.nan], subtype="FLOAT")
    assert "holds samples that are NaN or infinite; correct" in refused(tmp_path, "a.wav", call=one_recording)
    recording(tmp_path / "a.wav", [0, 0], rate=2_000_000)
    assert "2000000 samples per second" in refused(tmp_path, "a.wav", call=one_recording)


# a folder per class


@pytest.fixture
def folders(tmp_path):
    image(tmp_path / "dog" / "2.PNG", plain(RED))
    image(tmp_path / "dog" / "1.jpg", plain((0, 0, 0)))
    image(tmp_path / "cat" / "9.png", plain((255, 255, 255)))
    (tmp_path / "README.md").write_text("of no interest")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "cat" / ".DS_Store").write_text("of no interest")
    return tmp_path


def test_subfolders_are_classes(folders):
    dataset = opened(folders, labels={"dog": "hound"}, classes=["bird", "cat", "hound"])
    assert dataset.labels == ("bird", "cat", "hound") and dataset.targets.tolist() == [1, 2, 2]
    assert dataset.groups is None and dataset.modalities == ("photo",)
    photos = dataset.inputs["photo"]
    assert photos[0].min() == 1 and photos[1].max() == 0 and photos[2, :, 0, 0].tolist() == pytest.approx([1, 0, 0.2])
    assert opened(folders).labels == ("cat", "dog")


def test_subfolders_of_recordings_are_classes_too(tmp_path):
    recording(tmp_path / "on" / "a.wav", [0.5] * 8)
    recording(tmp_path / "off" / "a.ogg", [0] * 8)
    dataset = opened(tmp_path, images={}, audio=SOUND)
    assert dataset.labels == ("off", "on") and dataset.inputs["sound"][1].tolist() == [[0.5] * 8]


def test_what_is_wrong_with_subfolders_is_said(folders):
    said = f"there is no metadata.csv in {folders} that says which files of photo, sound belong together; write one"
    assert refused(folders, audio=SOUND) == said
    (folders / "bird").mkdir()
    assert refused(folders).startswith(f"folder {folders / 'bird'} holds no files; delete it, and give data.classes")
    for name in ("notes.txt", "a.wav"):
        (wrong := folders / "bird" / name).write_text("no image")
        assert refused(folders).startswith(f"{wrong} is no image; remove it, or give a file in .bmp, ")
        wrong.unlink()
    (folders / "bird" / "more.png").mkdir()
    assert "more.png is no image; " in refused(folders)
    (folders / "bird" / "more.png").rmdir()
    (folders / "bird" / "a.png").write_text("no image")
    assert refused(folders).startswith(f"file {folders / 'bird' / 'a.png'} is no image; give PNG, ")
    assert f"{folders / 'bird' / 'a.png'} is no recording; " in refused(folders, images={}, audio=SOUND)
    said = refused(folders, classes=["cat", "dog"])
    assert said.startswith(f"target 'y' of {folders} has the label 'bird', which is none of data.classes; ")


def test_a_folder_without_subfolders_is_refused(tmp_path):
    said = refused(tmp_path)
    assert said.startswith(f"data folder {tmp_path} has neither metadata.csv nor subfolders; save one folder of files")
    image(tmp_path / "a.png", plain(RED))
    assert refused(tmp_path) == said


# options


def test_options_are_checked(tmp_path):
    for options, words in [
        ({"images": {"m": {"size": [0, 3]}}}, "greater than or equal to 1"),
        ({"images": {"m": {"size": [3]}}}, "Field required"),
        ({"images": {"m": {}}}, "Field required"),
        ({"images": {"m": {"size": [3, 3], "colours": "cmyk"}}}, "'rgb' or 'grey'"),
        ({"audio": {"m": {"rate": 8000, "seconds": 0}}}, "greater than 0"),
        ({"audio": {"m": {"rate": 8000, "seconds": 0.00001}}}, "holds no sample at 8000 Hz; raise it"),
        ({"images": {"m": {"size": [3, 3]}}, "audio": {"m": {"rate": 1, "seconds": 1}}}, "'m' is in images too; give"),
    ]:
        with pytest.raises(ValidationError, match=words):
            media.Options(path=tmp_path, **options)


def test_without_a_package_a_sentence_says_how_to_get_it(folder, monkeypatch):
    for module, package, options in (("PIL.Image", "pillow", {}), ("soundfile", "soundfile", {"images": {}})):
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, module, None)
            said = refused(folder, audio=SOUND, **options)
        assert said == f"images and recordings need the package {package}: pip install 'parse-p2p[media]'"


def test_bytes_of_both_kinds_come_from_anywhere():
    from parse_p2p.data.sources.decoding import AudioOptions, Encoded

    written = io.BytesIO()
    soundfile.write(written, [0.5, -0.5], 4, format="WAV")
    assert AudioOptions(rate=4, seconds=1).decoded(Encoded(written.getvalue(), "it")).tolist() == [[0.5, -0.5, 0, 0]]
