"""Colours of classes: the same class has the same colour in every picture."""

import colorsys

Color = tuple[int, int, int]

# Bright enough for dark pictures, strong enough for white ones; neighbours in the list differ in hue.
_FIRST: tuple[Color, ...] = (
    (230, 60, 50), (30, 140, 230), (60, 180, 75), (245, 160, 20), (150, 70, 200), (20, 190, 190),
    (240, 80, 170), (150, 190, 20), (120, 90, 60), (70, 90, 220), (250, 215, 30), (110, 120, 130),
)  # fmt: skip


def class_color(label: int) -> Color:
    """RGB of a class; beyond the hand-made ones hues go round by the golden angle and never repeat."""
    if 0 <= label < len(_FIRST):
        return _FIRST[label]
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1.0, 0.75, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def text_color(background: Color) -> Color:
    """Black or white, whichever contrasts more (relative luminance, WCAG 2.1)."""
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in background]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)
