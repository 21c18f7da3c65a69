"""Where the published ImageNet weights are: torchvision's first release of each network (`IMAGENET1K_V1`).

The digits at the end of a name (eight or ten) are the start of the file's SHA-256, checked on download. The first
release, not the later recipes: detection papers and torchvision's own detectors fine-tune from it.
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
    "alexnet": _BASE + "alexnet-owt-7be5be79.pth",
    "densenet121": _BASE + "densenet121-a639ec97.pth",
    "densenet161": _BASE + "densenet161-8d451a50.pth",
    "densenet169": _BASE + "densenet169-b2777c0a.pth",
    "densenet201": _BASE + "densenet201-c1103571.pth",
    "googlenet": _BASE + "googlenet-1378be20.pth",
    "squeezenet1_0": _BASE + "squeezenet1_0-b66bff10.pth",
    "squeezenet1_1": _BASE + "squeezenet1_1-b8a52dc0.pth",
    "mobilenet_v2": _BASE + "mobilenet_v2-b0353104.pth",
    "shufflenet_v2_x0_5": _BASE + "shufflenetv2_x0.5-f707e7126e.pth",
    "shufflenet_v2_x1_0": _BASE + "shufflenetv2_x1-5666bf0f80.pth",
    "shufflenet_v2_x1_5": _BASE + "shufflenetv2_x1_5-3c479a10.pth",
    "shufflenet_v2_x2_0": _BASE + "shufflenetv2_x2_0-8be3c8ee.pth",
    "resnext50_32x4d": _BASE + "resnext50_32x4d-7cdf4587.pth",
    "resnext101_32x8d": _BASE + "resnext101_32x8d-8ba56ff5.pth",
    "resnext101_64x4d": _BASE + "resnext101_64x4d-173b62eb.pth",
    "wide_resnet50_2": _BASE + "wide_resnet50_2-95faca4d.pth",
    "wide_resnet101_2": _BASE + "wide_resnet101_2-32ee1156.pth",
    "efficientnet_b0": _BASE + "efficientnet_b0_rwightman-7f5810bc.pth",
    "efficientnet_b1": _BASE + "efficientnet_b1_rwightman-bac287d4.pth",
    "efficientnet_b2": _BASE + "efficientnet_b2_rwightman-c35c1473.pth",
    "efficientnet_b3": _BASE + "efficientnet_b3_rwightman-b3899882.pth",
    "efficientnet_b4": _BASE + "efficientnet_b4_rwightman-23ab8bcd.pth",
    "efficientnet_b5": _BASE + "efficientnet_b5_lukemelas-1a07897c.pth",
    "efficientnet_b6": _BASE + "efficientnet_b6_lukemelas-24a108a5.pth",
    "efficientnet_b7": _BASE + "efficientnet_b7_lukemelas-c5b4e57e.pth",
}
