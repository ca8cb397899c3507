# The same with calibrated class scores. The detections of each class are counted in a first pass without calibration,
# which is python -m trainer calibrate with the config beside this one.
#
# A class that was not detected at all counts as detected once. Upstream divides by zero and detects nothing then:
#   --cfg-options model.roi_head.bbox_head.least_count=0
_base_ = ['./clip_decouple_faster_rcnn_r50_c4_1x_lvis_v0.5_2ndstage.py']

model = dict(
    roi_head=dict(
        bbox_head=dict(
            gamma=0.6,
            calibration='work_dirs/clip_decouple_faster_rcnn_r50_c4_1x_lvis_v0.5_2ndstage/calibration.json')))
