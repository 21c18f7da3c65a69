"""The names of the 1,000 ImageNet classes, in the order of the labels (sorted by synset)."""

from collections.abc import Sequence


def imagenet_names() -> tuple[str, ...]:
    """1,000 unique names: the categories that torchvision publishes with its weights. torchvision is imported here."""
    from torchvision.models import ResNet18_Weights

    return unique_names(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """The second of equal names becomes "crane (2)", the third "crane (3)": classes are joined by name."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(unique)
