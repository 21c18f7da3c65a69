"""A folder of pictures laid out by what a network finds alike, as plots and grids."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from visionkit.data.image import read_image
from visionkit.explain.embedding import neighbour_agreement, principal_components, t_sne
from visionkit.gallery import gallery_vectors, network
from visionkit.predictor import Predictor
from visionkit.retrieval import classes_of
from visionkit.unit_pictures import written
from visionkit.viz.embedding_plot import grid_sheet, plot_embedding

NEAREST = 5  # neighbours whose class is compared
GRID = 1000  # pictures that are laid out on a grid at most: the time grows with the cube of their number


def embedding(
    predictor: Predictor,
    source: Path,
    output: Path,
    perplexity: float = 30.0,
    seed: int = 0,
    features: Path | None = None,
    batch_size: int = 64,
    workers: int = 0,
) -> list[Path]:
    """`embedding_pca.png` and `embedding_tsne.png`: the pictures of a folder in a plane, by the vectors that the
    network's head would classify; `embedding_grid.png`: all of them on a grid, near to where t-SNE has them (up to
    `GRID` pictures). Where each picture lies in a folder of its class, classes have colours, and the titles say how
    many of the nearest neighbours in the plane, and among the vectors, are of a picture's own class.

    Args:
        perplexity, seed: of t-SNE.
        features: the file that keeps the vectors; None = one in the output folder, named by the network's fingerprint.
    Raises:
        ConfigError: another model than a classifier, scikit-learn is missing, features of another network.
        DataError: no pictures, or one that cannot be read.
    """
    of = network(predictor.model, type(getattr(predictor.model, "backbone", None)).__name__, "this model")
    file = features or output / f"features_{of.fingerprint[:8]}.npz"  # networks may share a folder
    entries, _ = gallery_vectors(source, file, of, batch_size, workers)
    vectors = torch.from_numpy(np.stack([entry.vector for entry in entries]))  # (N, D)
    names = sorted(classes_of([entry.name for entry in entries]))
    labels = [names.index(Path(entry.name).parent.name) for entry in entries] if names else None

    def picture(i: int) -> np.ndarray:
        return read_image(source / entries[i].name)

    files = []
    planes = {"PCA": principal_components(vectors), "t-SNE": t_sne(vectors, perplexity, seed)}
    for name, points in planes.items():
        title = f"{name} of {len(entries)} pictures{_agreement({name: points, 'the vectors': vectors}, labels)}"
        path = output / f"embedding_{name.lower().replace('-', '')}.png"
        files.append(plot_embedding(points.numpy(), picture, path, labels, names, title))
    if len(entries) <= GRID:
        sheet = grid_sheet(planes["t-SNE"].numpy(), picture, labels)
        files.append(written(sheet, output / "embedding_grid.png"))
    return files


def _agreement(places: Mapping[str, torch.Tensor], labels: Sequence[int] | None) -> str:
    """How many of the nearest neighbours are of a picture's own class, by what distances are taken in."""
    if labels is None:
        return ""
    shares = {name: neighbour_agreement(points, torch.tensor(labels), NEAREST) for name, points in places.items()}
    found = " and ".join(f"{100 * share:.1f} % in {name}" for name, share in shares.items() if share is not None)
    return f"; of a picture's {NEAREST} nearest, of its class are\n{found}" if found else ""
