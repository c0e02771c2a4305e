"""Features of images and texts: finite, in order, independent of the batch, and of the weights in the spec."""

from __future__ import annotations

import gc
import importlib.util
import pickle
import sys
import weakref
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from labelaudit.errors import ConfigError, InputError, TrainingError
from labelaudit.model.encoders import bert, load
from labelaudit.model.encoders.choose import choose_encoder
from labelaudit.model.encoders.encoder_spec import EncoderSpec
from labelaudit.model.encoders.load import Encoder, forget_encoder, load_encoder, reused_encoder
from labelaudit.model.encoders.packaged_encoders import PACKAGED

OWN = """
import torch
from torch import nn

class Means(nn.Module):
    input_size = 32

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, images):
        assert images.dtype == torch.float32 and images.max() <= 1
        return images.mean((2, 3)) * self.factor

class Lengths(nn.Module):
    def forward(self, texts):
        assert isinstance(texts, list)
        return torch.tensor([[float(len(text)), 1.0] for text in texts])
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "own_encoders.py").write_text(OWN)
    return tmp_path


def spec_of(setting: str, kind: str = "image", size: int = 13, **kwargs: Any) -> EncoderSpec:
    spec = choose_encoder(setting, kind=kind, image_size=(size, size), kwargs=kwargs, weights=None)
    assert spec is not None
    return spec


def images(rows: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, size, size, 3), np.uint8)


def distance(features: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of a row, relative to the length of the row."""
    difference = features.astype(np.float64) - expected
    return float((np.linalg.norm(difference, axis=1) / np.linalg.norm(expected, axis=1)).max())


@pytest.fixture(scope="module")
def lite0() -> Encoder:
    return load_encoder(spec_of("efficientnet-lite0"), device="cpu")


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    return load_encoder(spec_of("minilm", "text"), device="cpu")


def test_lite0_is_the_published_network(lite0: Encoder) -> None:
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(PACKAGED["efficientnet-lite0"].weights_file(), weights_only=True))
    pixels = images(5, lite0.spec.input_size)
    with torch.inference_mode():
        scaled = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127) / 128
        expected = network.eval().extract_features(scaled).mean((2, 3)).numpy()
    features = lite0.encode(pixels)
    assert (features.shape, features.dtype) == ((5, 1280), np.float16)
    assert distance(features, expected) < 1e-3
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in lite0._module.modules())
    assert (lite0.device, lite0.precision, lite0.batch_size) == ("cpu", "float32", 8)


def test_an_image_does_not_depend_on_its_batch(lite0: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = images(5, lite0.spec.input_size)
    together = lite0.encode(pixels)
    monkeypatch.setattr(lite0, "batch_size", 2)
    pixels.flags.writeable = False  # as in a memory map
    assert distance(lite0.encode(pixels[::-1])[::-1], together.astype(np.float64)) < 1e-3


def test_the_last_encoder_is_loaded_once() -> None:
    first = reused_encoder(spec_of("own_encoders:Means", factor=1.0), device="cpu")
    assert reused_encoder(spec_of("own_encoders:Means", factor=1.0), device="cpu") is first
    other = reused_encoder(spec_of("own_encoders:Means", factor=2.0), device="cpu")
    assert other.spec.kwargs != first.spec.kwargs
    assert reused_encoder(spec_of("own_encoders:Means", factor=1.0), device="cpu") is not first


def test_a_reused_encoder_tries_whole_batches_again() -> None:
    spec = spec_of("own_encoders:Means")
    first = reused_encoder(spec, device="cpu")
    usual = first.batch_size
    first.batch_size = 1  # as after a lack of memory
    assert reused_encoder(spec, device="cpu") is first
    assert first.batch_size == usual > 1


def test_a_forgotten_encoder_is_freed() -> None:
    kept = weakref.ref(reused_encoder(spec_of("own_encoders:Means"), device="cpu"))
    forget_encoder()
    gc.collect()
    assert kept() is None


def test_nothing_gives_no_features(lite0: Encoder, minilm: Encoder) -> None:
    assert lite0.encode(images(0, lite0.spec.input_size)).shape == (0, 1280)
    assert minilm.encode([]).shape == (0, 384)


def test_a_text_does_not_depend_on_its_batch(minilm: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["short", "", "a text with more words, and a number: 17", "word " * 400, "Zürich 東京 🙂", "short"]
    together = minilm.encode(texts)
    assert (together.shape, together.dtype) == ((6, 384), np.float16)
    assert np.array_equal(together[0], together[5])
    alone = np.concatenate([minilm.encode([text]) for text in texts]).astype(np.float64)
    assert distance(together, alone) < 1e-3
    monkeypatch.setattr(minilm, "batch_size", 2)
    assert distance(minilm.encode(np.array(texts, dtype=object)), alone) < 1e-3


def test_similar_texts_have_similar_features(minilm: Encoder) -> None:
    lines = ["A man plays the guitar.", "Someone is playing a guitar.", "The stock market fell today."]
    guitar, other_guitar, market = minilm.encode(lines).astype(np.float64)
    assert guitar @ other_guitar > 0.8 > 0.3 > guitar @ market


def test_long_texts_are_truncated(minilm: Encoder) -> None:
    long, longer = minilm.encode(["word " * 300, "word " * 300 + "and something else"])
    assert np.array_equal(long, longer)


def test_own_code_gets_pixels_from_0_to_1() -> None:
    encoder = load_encoder(spec_of("own_encoders:Means", factor=2.0), device="cpu")
    pixels = np.full((3, 32, 32, 3), 255, np.uint8)
    pixels[1] = 0
    assert np.array_equal(encoder.encode(pixels), np.array([[2] * 3, [0] * 3, [2] * 3], np.float16))


def test_own_code_gets_texts_and_the_order_is_kept() -> None:
    encoder = load_encoder(spec_of("own_encoders:Lengths", "text"), device="cpu")
    texts = ["x" * length for length in range(90)]
    assert np.array_equal(encoder.encode(texts)[:, 0], np.arange(90))


@pytest.mark.parametrize("wrong", [images(2, 31), images(2, 32)[..., :1], images(2, 32).astype(np.float32), ["text"]])
def test_wrong_images_are_refused(wrong: Any) -> None:
    encoder = load_encoder(spec_of("own_encoders:Means"), device="cpu")
    with pytest.raises(
        InputError, match=r"'own_encoders:Means' got images of .*, not uint8 of \(images, 32, 32, 3\)\. D"
    ):
        encoder.encode(wrong)


@pytest.mark.parametrize(("wrong", "found"), [("text", "one text"), (["a", None], "NoneType"), ([3], "int")])
def test_wrong_texts_are_refused(wrong: Any, found: str) -> None:
    encoder = load_encoder(spec_of("own_encoders:Lengths", "text"), device="cpu")
    with pytest.raises(InputError, match=rf"A text encoder got {found}\. Pass a list of texts"):
        encoder.encode(wrong)


@pytest.mark.parametrize("factor", [float("nan"), 1e6])
def test_features_that_are_not_finite_are_an_error(factor: float) -> None:
    encoder = load_encoder(spec_of("own_encoders:Means", factor=factor), device="cpu")
    pixels = np.full((2, 32, 32, 3), 255, np.uint8)
    with pytest.raises(
        TrainingError, match=r"'own_encoders:Means' returned features that are not finite, .* 0, 1\)\. Ch"
    ):
        encoder.encode(pixels)


class Overflows(nn.Module):
    """Is finite in float32 only, as values inside some networks are."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        is_half = torch.is_autocast_enabled("cpu")
        return torch.full((len(pixels), 3), float("inf") if is_half else 1.0)


def test_an_overflow_in_float16_is_computed_again_in_float32() -> None:
    encoder = Encoder(spec_of("own_encoders:Means"), Overflows(), torch.device("cpu"))
    encoder.precision = "float16"
    assert encoder.encode(images(3, 32)).tolist() == [[1.0] * 3] * 3


class SmallMemory(nn.Module):
    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows, self.batches = rows, list[int]()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.batches.append(len(pixels))
        return pixels.float().mean((2, 3))


def test_the_batch_is_halved_if_the_memory_is_too_small() -> None:
    module = SmallMemory(3)
    encoder = Encoder(spec_of("own_encoders:Means"), module, torch.device("cpu"))
    pixels = images(20, 32)
    np.testing.assert_allclose(encoder.encode(pixels), pixels.mean((1, 2)), rtol=1e-3)
    assert (module.batches, encoder.batch_size) == ([2] * 10, 2)
    module.rows = 0
    with pytest.raises(TrainingError, match=r"too small for one input of encoder 'own_encoders:Means'\. Choose"):
        encoder.encode(pixels)


class Broken(nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("a fault of the module")


def test_other_errors_of_a_module_are_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="a fault of the module"):
        Encoder(spec_of("own_encoders:Means"), Broken(), torch.device("cpu")).encode(images(3, 32))


def test_other_weights_than_in_the_spec_are_refused(folder: Path) -> None:
    spec = spec_of("own_encoders:Means")
    (folder / "own_encoders.py").write_text(OWN + "# changed\n")
    with pytest.raises(
        ConfigError, match=r"The weights or the code of encoder 'own_encoders:Means' .* differ .*Install"
    ):
        load_encoder(spec, device="cpu")
    packaged = replace(spec_of("efficientnet-lite0"), weights_sha256="0" * 64)
    with pytest.raises(ConfigError, match=r"'efficientnet-lite0' on this machine differ .* instead of 000000000000\)"):
        load_encoder(packaged, device="cpu")


def test_another_number_of_features_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"returns 3 features on this machine, but .* with 4\. Install the same"):
        load_encoder(replace(spec_of("own_encoders:Means"), dim=4), device="cpu")


def test_weights_from_another_place(folder: Path) -> None:
    module = nn.Module()
    module.factor = nn.Parameter(torch.tensor(3.0))
    torch.save(module.state_dict(), folder / "mine.pt")
    spec = spec_of("own_encoders:Means", weights="./mine.pt")
    (folder / "mine.pt").rename(folder / "moved.pt")
    encoder = load_encoder(spec, weights=folder / "moved.pt", device="cpu")
    assert encoder.encode(np.full((1, 32, 32, 3), 255, np.uint8)).tolist() == [[3.0] * 3]
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_encoder(spec, device="cpu")


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code from a weights file",))


def test_files_that_are_truncated_or_contain_code_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = PACKAGED["efficientnet-lite0"].weights_file().read_bytes()
    for content in (whole[: len(whole) // 2], pickle.dumps(Harmful()), b""):
        (folder / "mine.pth").write_bytes(content)
        for setting, kwargs in (("./mine.pth", {}), ("efficientnet-lite0", {"weights": "mine.pth"})):
            with pytest.raises(ConfigError, match=r"mine\.pth' cannot be loaded .* Use a state dict"):
                spec_of(setting, **kwargs)
    assert capsys.readouterr().out == ""


def test_a_damaged_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"", b"PK no zip"):
        (folder / "model.zip").write_bytes(content)
        with pytest.raises(ConfigError, match=r"model\.zip' of encoder 'minilm' cannot be read .* Install its package"):
            bert.read_minilm(folder / "model.zip")
    with zipfile.ZipFile(folder / "model.zip", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ConfigError, match=r"model\.zip' of encoder 'minilm' cannot be read"):
        bert.read_minilm(folder / "model.zip")
    (folder / "all_minilm_l6_v2.py").touch()
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    )
    (folder / "model.zip").unlink()
    with pytest.raises(ConfigError, match=r"all_minilm_l6_v2, which contains the weights of .* has no file model\.zip"):
        spec_of("minilm", "text")


def test_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of("own_encoders:Means")
    for capability, expected in (((8, 0), "float16"), ((6, 1), "float32")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert load.Encoder(spec, nn.Identity(), torch.device("cuda", 0)).precision == expected
        assert load.Encoder(spec, nn.Identity(), torch.device("cpu")).precision == "float32"
