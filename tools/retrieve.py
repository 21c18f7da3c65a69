"""Show the pictures of a folder that a network finds nearest to a query: AlexNet's picture of fc7 (2012, fig. 4).

    python tools/retrieve.py checkpoint=outputs/.../checkpoints/best.pt source=PICTURES query=cat.jpg
    python tools/retrieve.py checkpoint=... source=PICTURES query=PICTURES/cat count=8 distance=cosine
    python tools/retrieve.py task=classify backbone=resnet18 backbone.weights=PATH source=PICTURES query=cat.jpg

The vectors that the network's head would classify are computed once for each picture of `source` and kept in
`features`; they are used again as long as network and weights are the same, and pictures that are new or have changed
are added. A query that is itself a picture of `source` (the same path) is not found again, a copy of it is. Prints the
nearest pictures with their distances, and writes nearest.json and sheets nearest_01.jpg ..., twenty queries each.
"""

from typing import Any

from visionkit.config import main


@main("retrieve")
def retrieve(config: Any) -> None:
    """Entry point: vectors of the gallery, vectors of the queries, the nearest."""
    from visionkit.retrieval import checked_paths

    paths = checked_paths(config.source, config.query, config.output, config.features, config.distance)

    from visionkit import retrieval
    from visionkit.engine.distributed import start
    from visionkit.engine.precision import make_deterministic

    device = start(config.device)
    make_deterministic(cuda=device.type == "cuda")
    of = chosen_network(config, device)
    found, sentence = retrieval.retrieve(paths, of, config.count, config.distance, config.batch_size, config.workers)
    print(sentence)
    for one in found:
        print(*retrieval.describe(one, paths.source), sep="\n")
    agreement = retrieval.class_agreement(found)
    if agreement is not None:
        print(agreement)
    written = retrieval.write(found, paths.output, config.distance)
    sheets = written[1].name if len(written) == 2 else f"{written[1].name} ... {written[-1].name}"
    print(f"{written[0].name} and {sheets} are in {paths.output}")


def chosen_network(config: Any, device: Any) -> Any:
    """A checkpoint's classifier, or a backbone with published weights, whose head is not asked."""
    import torch

    from visionkit.assemble import build_model
    from visionkit.errors import ConfigError
    from visionkit.gallery import network
    from visionkit.predictor import load

    backbone = config.get("backbone")
    if (config.checkpoint is None) == (backbone is None):
        raise ConfigError("give either checkpoint=... or task=classify backbone=... backbone.weights=..., not both.")
    if config.checkpoint is not None:
        predictor = load(config.checkpoint, device)
        return network(predictor.model, name_of(predictor.config["backbone"]), str(config.checkpoint))
    if config.get("task") is None or backbone.weights is None:
        raise ConfigError("vectors of a network need task=classify and backbone.weights=..., a file or imagenet.")
    model = build_model(config, num_classes=2).to(device).to(memory_format=torch.channels_last).eval()
    print(model.backbone.innermost().load_report)
    return network(model, name_of(backbone), str(backbone.weights))


def name_of(backbone: Any) -> str:
    """`resnet18` of its node in a configuration."""
    return str(backbone["_target_"]).rpartition(".")[2]


if __name__ == "__main__":
    retrieve()
