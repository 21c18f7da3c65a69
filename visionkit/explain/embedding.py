"""A network's vectors of many pictures laid out in a plane: by their principal components, and by t-SNE."""

import torch
from torch import Tensor

from visionkit.errors import ConfigError
from visionkit.explain.retrieval import nearest

FIRST = 50  # principal components that t-SNE starts from (van der Maaten and Hinton 2008, sec. 4.2)


def principal_components(vectors: Tensor, count: int = 2) -> Tensor:
    """Vectors (N, D) float -> (N, count) float32: where they lie along the directions in which they differ most, the
    most important first; columns of zeros where there are fewer directions. Each direction points to where its largest
    weight is positive, so that a picture is not mirrored from one computer to the next.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    _require_sklearn("principal components")
    from sklearn.decomposition import PCA

    found = vectors.new_zeros(len(vectors), count, dtype=torch.float32)
    known = min(count, *vectors.shape)
    if known < 1 or (vectors == vectors[0]).all():
        return found
    made = PCA(known, svd_solver="full").fit_transform(vectors.double().numpy())  # (N, known); its signs are fixed
    found[:, :known] = torch.from_numpy(made).float()
    return found


def t_sne(vectors: Tensor, perplexity: float = 30.0, seed: int = 0) -> Tensor:
    """Vectors (N, D) float -> places (N, 2) float32 in which neighbours stay neighbours (van der Maaten and Hinton,
    "Visualizing Data using t-SNE", 2008). Distances between groups, and the sizes of groups, mean little in it.

    Starts from the principal components, so that the seed decides little.

    Args:
        perplexity: about how many neighbours each vector has; where there are fewer than three times as many vectors,
            a third of their number less one. Fewer than 5 vectors are laid out by their principal components.
        seed: of the search.
    Raises:
        ConfigError: scikit-learn is not installed, or a perplexity that is not above 0.
    """
    if not perplexity > 0:
        raise ConfigError(f"perplexity={perplexity} has to be above 0.")
    if len(vectors) < 5:
        return principal_components(vectors)
    start = principal_components(vectors, min(FIRST, *vectors.shape))
    if not start.any():
        return start.new_zeros(len(start), 2)  # all vectors are the same
    from sklearn.manifold import TSNE

    fitted = TSNE(
        perplexity=min(perplexity, (len(vectors) - 1) / 3),
        init="pca" if start.shape[1] > 1 else "random",
        learning_rate="auto",
        random_state=seed,
        n_jobs=1,
    )
    return torch.from_numpy(fitted.fit_transform(start.numpy())).float()  # (N, 2)


def neighbour_agreement(points: Tensor, labels: Tensor, k: int = 5) -> float | None:
    """The share of the k nearest other points that have a point's own class, over all points: 0 ... 1; None where a
    point has no other.

    Args:
        points: (N, D) float.
        labels: (N,) int64.
    """
    if len(points) < 2:
        return None
    order = nearest(points, points, len(points))[0]  # (N, N)
    others = order[order != torch.arange(len(points))[:, None]].view(len(points), -1)[:, :k]  # (N, k), without itself
    return float((labels[others] == labels[:, None]).float().mean())


def _require_sklearn(what: str) -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise ConfigError(f"{what} need scikit-learn: pip install 'visionkit[svm]'.") from None
