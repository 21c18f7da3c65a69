"""COCO's classes: 80 names, and the numbers from 1 to 90 that they have, of which ten were never used."""

NAMES = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, "
    "parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, "
    "handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, "
    "surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, "
    "mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, "
    "teddy bear, hair drier, toothbrush"
)
UNUSED = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})


def coco_names() -> tuple[str, ...]:
    """The 80 names in the order of their numbers."""
    return tuple(NAMES.split(", "))


def coco_numbers() -> tuple[str, ...]:
    """A name for each number from 1 to 90: "unused 12" and its like for those without a class."""
    names = iter(coco_names())
    return tuple(f"unused {number}" if number in UNUSED else next(names) for number in range(1, 91))
