"""Show what a trained network looks at: pictures that explain one number of its answer, and checks of such pictures.

    python tools/explain.py checkpoint=outputs/.../checkpoints/best.pt image=PICTURE method=grad_cam
    python tools/explain.py checkpoint=... image=PICTURE method=all                        (methods side by side)
    python tools/explain.py checkpoint=... image=FOLDER method=[grad_cam,occlusion]       (a page of all pictures)
    python tools/explain.py checkpoint=... image=PICTURE target=detection:0:x1       (an edge of a detector's box)
    python tools/explain.py checkpoint=... image=PICTURE method=proposals            (a detector's road from anchors)
    python tools/explain.py task=classify backbone=resnet18 backbone.weights=PATH image=PICTURE method=grad_cam
    python tools/explain.py checkpoint=... data=raccoon check=pointing     (do the explanations point at the object?)

Of one picture and one number: grad_cam, hires_cam, cam, occlusion, saliency, smooth_grad, guided_backpropagation,
deconvnet, guided_grad_cam; all = these side by side. Of a picture: proposals, activations, inversion. Of a folder:
patches, deconvnet_patches, embedding, invariance, lesions. Of the network alone: filters, class_image.
What is explained is the target: auto (the most probable class, the best detection, the class of the most pixels, the
count), a class, detection:N, detection:N:x1, mask:N, proposal:N, proposal:N:x1, box:x1 (of a localizer), pixel:X:Y or
pixel:X:Y:CLASS in pixels of the file; N = 0 is the best.
Writes a sheet NAME.METHOD.jpg for each picture and explain.json, and for several pictures index.html, one file that
holds all sheets. docs/explain.md says what each shows and what it does not.
"""

from typing import Any

from visionkit.config import main


@main("explain")
def explain(config: Any) -> None:
    """Entry point: a model, then a check, a method of its own, or a sheet for each picture."""
    from visionkit.explain_settings import WHOLE_METHODS, asked_methods, checked_settings
    from visionkit.explain_source import output_folder, source_pictures

    checked_settings(config)
    folder = output_folder(config)
    pictures = source_pictures(config)

    from visionkit.engine.distributed import start
    from visionkit.engine.precision import make_deterministic

    device = start(config.device)
    make_deterministic(cuda=device.type == "cuda")

    from visionkit import explain_run

    predictor = explain_run.chosen_model(config, device)
    if config.check is not None:
        from visionkit.explain_check import check

        check(config, predictor, folder)
        return
    methods = asked_methods(config.method)
    if methods[0] in WHOLE_METHODS:
        explain_run.whole(config, predictor, pictures, methods[0], folder)
    else:
        explain_run.sheets(config, predictor, pictures, methods, folder)


if __name__ == "__main__":
    explain()
