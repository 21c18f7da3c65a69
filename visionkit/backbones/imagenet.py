"""Where the published ImageNet weights are: torchvision's first release of each network (`IMAGENET1K_V1`).

The eight digits at the end of a name are the start of the file's SHA-256, checked on download. The first release, not
the later recipes: detection papers and torchvision's own detectors fine-tune from it.
"""

_BASE = "https://download.pytorch.org/models/"

URLS: dict[str, str] = {
    "resnet18": _BASE + "resnet18-f37072fd.pth",
    "resnet34": _BASE + "resnet34-b627a593.pth",
    "resnet50": _BASE + "resnet50-0676ba61.pth",
    "resnet101": _BASE + "resnet101-63fe2227.pth",
    "resnet152": _BASE + "resnet152-394f9c45.pth",
    "vgg11": _BASE + "vgg11-8a719046.pth",
    "vgg13": _BASE + "vgg13-19584684.pth",
    "vgg16": _BASE + "vgg16-397923af.pth",
    "vgg19": _BASE + "vgg19-dcbb9e9d.pth",
    "vgg11_bn": _BASE + "vgg11_bn-6002323d.pth",
    "vgg13_bn": _BASE + "vgg13_bn-abd245e5.pth",
    "vgg16_bn": _BASE + "vgg16_bn-6c64b313.pth",
    "vgg19_bn": _BASE + "vgg19_bn-c79401a0.pth",
}
