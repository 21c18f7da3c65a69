import hashlib
import logging
import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torch import nn

from visionkit.backbones import imagenet, resnet
from visionkit.backbones.box_tails import TwoLayerTail
from visionkit.backbones.fpn import FPN, build_fpn
from visionkit.backbones.pretrained import load_weights
from visionkit.backbones.resnet import ResNet
from visionkit.backbones.vgg import VGG
from visionkit.errors import ConfigError

small = partial(resnet.basic_resnet, widths=(4, 4, 8, 8))


@pytest.fixture(autouse=True)
def no_weights_folder(monkeypatch, request):
    if "published" not in request.fixturenames:
        monkeypatch.delenv("VISIONKIT_WEIGHTS", raising=False)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """As a training script would save it: trunk, tail and classifier."""
    net = small()
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return net.state_dict() | {"fc.weight": torch.rand(7, 8), "fc.bias": torch.rand(7)}


def save(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def assert_loaded(net: nn.Module, state: dict[str, torch.Tensor], **tolerance: float) -> None:
    for key, tensor in net.state_dict().items():
        if key in state and not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(tensor, state[key].to(tensor.dtype), **tolerance)


def test_loads_all_and_reports_the_classifier_as_unused(state, tmp_path, caplog):
    net = small()
    with caplog.at_level(logging.INFO):
        report = load_weights(net, save(state, tmp_path / "a.pth"))
    assert_loaded(net, state)
    assert set(report.loaded) == set(net.state_dict())
    assert report.unused == ("fc.weight", "fc.bias")
    assert caplog.messages == [str(report)]
    assert str(report) == f"{tmp_path / 'a.pth'}: {len(report.loaded)} tensors loaded, 2 unused (fc.weight, fc.bias)"


def test_loads_the_classifier_when_given(state, tmp_path):
    net = small()
    classifier = net.new_classifier(7)
    report = load_weights(net, save(state, tmp_path / "a.pth"), classifier)
    torch.testing.assert_close(classifier.linear.weight, state["fc.weight"])
    assert report.classifier == ("fc.weight", "fc.bias")
    assert not report.unused
    with pytest.raises(ConfigError, match=r"a\.pth.*fc\.weight has shape \(7, 8\), this classifier's has \(9, 8\)"):
        load_weights(net, tmp_path / "a.pth", net.new_classifier(9))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"state": {}}},
        lambda state: {"state_dict": {"model": {f"module.{key}": value for key, value in state.items()}}},
        lambda state: {f"module._orig_mod.{key}": value for key, value in state.items()},
        lambda state: {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")},
    ],
    ids=["state_dict", "model", "nested, module.", "module._orig_mod.", "no num_batches_tracked"],
)
def test_wrapped_files(wrap, state, tmp_path):
    net = small()
    load_weights(net, save(wrap(state), tmp_path / "a.pth"))
    assert_loaded(net, state)


def test_half_precision_is_converted(state, tmp_path):
    net = small()
    half = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    load_weights(net, save(half, tmp_path / "a.pth"))
    assert net.conv1.weight.dtype == torch.float32
    assert_loaded(net, half)


def test_safetensors(state, tmp_path):
    from safetensors.torch import save_file

    net = small()
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "a.safetensors")
    load_weights(net, tmp_path / "a.safetensors")
    assert_loaded(net, state)
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:500])
    with pytest.raises(ConfigError, match=r"b\.safetensors is broken"):
        load_weights(net, tmp_path / "b.safetensors")


def test_frozen_norms_take_the_statistics_of_batch_norms(state, tmp_path):
    net = small(weights=str(save(state, tmp_path / "a.pth")), norm="frozen")
    assert_loaded(net, state)
    assert torch.equal(net.bn1.running_var, state["bn1.running_var"])


def test_the_report_stays_with_the_network(state, tmp_path):
    assert small().load_report is None
    assert "a.pth" in str(small(weights=str(save(state, tmp_path / "a.pth"))).load_report)


def test_a_pyramid_passes_them_to_its_body(state, tmp_path):
    path = save(state, tmp_path / "a.pth")
    net = FPN(small(), ("c2", "c3"), 8, tail=TwoLayerTail(8, 7, 8))
    report = load_weights(net, path)
    assert_loaded(net.body, state)
    dropped = {key for key in state if key.startswith(("layer3.", "layer4.", "fc."))}
    assert set(report.unused) == {key for key in dropped if not key.endswith("num_batches_tracked")}
    assert_loaded(build_fpn(small, weights=str(path), channels=8, hidden=8).body, state)


def test_a_pyramid_on_a_vgg_drops_the_fully_connected_layers(tmp_path):
    make = partial(VGG, (1, 1, 1, 1, 1), widths=(4,) * 5, hidden=8)
    whole = make()
    state = whole.state_dict() | {"classifier.6.weight": torch.rand(3, 8), "classifier.6.bias": torch.rand(3)}
    path = save(state, tmp_path / "vgg.pth")
    assert load_weights(make(), path).unused == ("classifier.6.weight", "classifier.6.bias")
    net = FPN(make(), ("c3", "c4", "c5"), 8, tail=TwoLayerTail(8, 7, 8))
    report = load_weights(net, path)
    assert_loaded(net.body, state)
    assert report.unused == tuple(key for key in state if key.startswith("classifier."))
    assert "4 more" in str(report)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("layer2.0.conv1.weight"), r"a\.pth does not fit: this ResNet needs layer2\.0\.conv1\.weight"),
        (lambda s: s.update({"layer2.7.x": torch.ones(1)}), r"a\.pth does not fit: this ResNet has no layer2\.7\.x"),
        (
            lambda s: s.update({"conv1.weight": torch.ones(4, 1, 7, 7)}),
            r"a\.pth does not fit: its conv1\.weight has shape \(4, 1, 7, 7\), this ResNet's has \(4, 3, 7, 7\)",
        ),
    ],
    ids=["missing", "unexpected", "misshapen"],
)
def test_files_that_do_not_fit_change_nothing(change, sentence, state, tmp_path):
    change(state)
    net = small()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(ConfigError, match=sentence) as caught:
        load_weights(net, save(state, tmp_path / "a.pth"))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_another_network_altogether(tmp_path):
    with pytest.raises(ConfigError, match=r"a\.pth holds nothing of this ResNet: it has encoder\.w"):
        load_weights(small(), save({"encoder.w": torch.ones(2)}, tmp_path / "a.pth"))


def test_missing_and_broken_files(state, tmp_path):
    with pytest.raises(ConfigError, match=r"no weights file at .*none\.pth"):
        load_weights(small(), tmp_path / "none.pth")
    with pytest.raises(ConfigError, match="no weights file at"):
        load_weights(small(), tmp_path)
    whole = save(state, tmp_path / "whole.pth").read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(state["conv1.weight"].numpy().tobytes()) + 5] ^= 1
    contents = {
        "truncated.pth": whole[: len(whole) // 2],
        "flipped.pth": bytes(flipped),
        "empty.pth": b"",
        "text.pth": b"not a weights file\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=name) as caught:
            load_weights(small(), tmp_path / name)
        assert "\n" not in str(caught.value)


def test_no_tensors_and_no_code(tmp_path):
    with pytest.raises(ConfigError, match="holds no tensors"):
        load_weights(small(), save({"epoch": 3, "state_dict": {}}, tmp_path / "a.pth"))
    with pytest.raises(ConfigError, match=r"b\.pth is broken or not a weights file"):
        load_weights(small(), save(nn.Linear(2, 2), tmp_path / "b.pth"))  # a pickled module would run its code


def test_files_are_looked_up_under_the_weights_folder(state, tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    save(state, tmp_path / "folder" / "a.pth")
    monkeypatch.setenv("VISIONKIT_WEIGHTS", str(tmp_path / "folder"))
    assert load_weights(small(), "a.pth").source == tmp_path / "folder" / "a.pth"
    with pytest.raises(ConfigError, match=r"no weights file at b\.pth or .*folder/b\.pth"):
        load_weights(small(), "b.pth")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A local web server of tmp_path/web; torch hub's cache in tmp_path/hub."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    (tmp_path / "web").mkdir()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "web"))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()
        thread.join()


def test_imagenet_weights_are_downloaded_once(state, server, tmp_path, monkeypatch):
    path = save(state, tmp_path / "a.pth")
    name = f"tiny-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    path.rename(tmp_path / "web" / name)
    monkeypatch.setitem(imagenet.URLS, "resnet18", server + name)
    monkeypatch.setattr(resnet, "ResNet", lambda block, depths, **kw: ResNet(block, (1,) * 4, (4, 4, 8, 8), **kw))
    net = resnet.resnet18("imagenet")
    assert_loaded(net, state)
    cache = tmp_path / "hub" / "checkpoints"
    assert [file.name for file in cache.iterdir()] == [name], "no partial files are left"
    (tmp_path / "web" / name).unlink()
    assert load_weights(net, "imagenet").source == cache / name, "from the cache"
    (tmp_path / "folder").mkdir()
    save(state, tmp_path / "folder" / name)
    monkeypatch.setenv("VISIONKIT_WEIGHTS", str(tmp_path / "folder"))
    assert load_weights(net, "imagenet").source == tmp_path / "folder" / name, "the weights folder first"


def test_failed_downloads(server, tmp_path):
    net = small()
    (tmp_path / "web" / "tiny-00000000.pth").write_bytes(b"something else")
    net.weights_url = server + "tiny-00000000.pth"
    with pytest.raises(ConfigError, match="damaged: its SHA-256 does not begin with 00000000"):
        load_weights(net, "imagenet")
    net.weights_url = server + "absent-00000000.pth"
    with pytest.raises(ConfigError, match=r"cannot download .*absent-00000000\.pth.*404"):
        load_weights(net, "imagenet")
    assert not list((tmp_path / "hub" / "checkpoints").iterdir()), "nothing is left of a failed download"


def test_no_published_weights():
    with pytest.raises(ConfigError, match="no ImageNet weights are published for this ResNet"):
        small(weights="imagenet")


def test_the_table_is_torchvisions():
    from torchvision import models

    for name, url in imagenet.URLS.items():
        assert url == models.get_model_weights(name).IMAGENET1K_V1.url


@pytest.fixture
def published() -> Path:
    path = Path(os.environ.get("VISIONKIT_WEIGHTS", "")) / "resnet18_imagenet.pth"
    if not path.is_file():
        pytest.skip("resnet18_imagenet.pth is not in the folder VISIONKIT_WEIGHTS")
    return path


@torch.no_grad()
@pytest.mark.parametrize("norm", ["batch", "frozen"])
def test_published_weights_give_torchvisions_logits(published, norm):
    from torchvision import models

    net = resnet.resnet18(norm=norm).eval()
    classifier = net.new_classifier(1000)
    report = load_weights(net, published.name, classifier)
    assert not report.unused
    theirs = models.resnet18(weights=None).eval()
    theirs.load_state_dict(torch.load(published, weights_only=True), strict=False)
    images = torch.randn(2, 3, 224, 224)
    logits = classifier(net.tail_maps(net.pool(net(images, ("c4",))["c4"])))
    torch.testing.assert_close(logits, theirs(images), atol=1e-4 if norm == "frozen" else 1e-5, rtol=1e-5)


def test_published_weights_through_a_pyramid(published):
    net = build_fpn(resnet.resnet18, weights="resnet18_imagenet.pth", norm="frozen", hidden=16)
    expected = torch.load(published, weights_only=True)["layer4.1.conv2.weight"].float()
    assert torch.equal(net.body.layer4[1].conv2.weight, expected)
