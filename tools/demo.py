"""Draw what a trained model finds in an image, a folder of images or a video.

    python tools/demo.py checkpoint=outputs/quickstart/.../checkpoints/best.pt source=IMAGE_OR_FOLDER_OR_VIDEO
    python tools/demo.py checkpoint=... source=LARGE_PICTURE views=tiles views.size=1024           (of a segmenter)

Writes each picture with its boxes and, beside it, a JSON file with every detection: class, score, box (x1 y1 x2 y2 in
pixels of the image) and, from a Mask R-CNN, its mask in COCO's run lengths. A video gives one video and one JSON file.
Of a classifier the most probable classes are written, without boxes; of a segmenter a PNG file with the class of every
pixel, and the classes' shares of the picture; of a counter the count.
"""

from typing import Any

from visionkit.config import main


@main("demo")
def demo(config: Any) -> None:
    """Entry point: one frame after the other, drawn and written."""
    from itertools import islice

    from visionkit.data.source_images import frames, is_video, video_rate
    from visionkit.demo import PictureWriter, VideoWriter, describe, source_and_output
    from visionkit.engine.distributed import start
    from visionkit.engine.precision import make_deterministic
    from visionkit.predictor import load, with_views

    source, output = source_and_output(config.source, config.output)
    device = start(config.device)
    make_deterministic(cuda=device.type == "cuda")  # the kernels of the evaluation: its boxes, bit for bit
    predictor = load(config.checkpoint, device)
    look = with_views(predictor, config.get("views"))
    writer = VideoWriter(output, source, video_rate(source)) if is_video(source) else PictureWriter(output)
    count = 0
    with writer:
        for frame in islice(frames(source), config.limit):
            found = look(frame.image)
            writer.write(frame, found, predictor.names, config.threshold)
            count += 1
            print(describe(frame.name, found, predictor.names, config.threshold), flush=True)
    print(f"{count} pictures with their detections are in {output}")


if __name__ == "__main__":
    demo()
