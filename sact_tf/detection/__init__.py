"""Object detection as pure functions: anchors, box codes, targets, sampling, proposals, losses, crops, answers, scores.

Boxes are float32 `(ymin, xmin, ymax, xmax)` in pixels of the network's input. The method is Faster R-CNN (Ren et al.,
arXiv 1506.01497) with the numbers of the TF Object Detection API's `faster_rcnn_resnet101_coco`.
"""
