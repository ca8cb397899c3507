# Small parts of COCO and Objects365, for one device:
#   python -m data_server subset --percent 5 --annotations data/coco/annotations/instances_train2017.json
#   python -m data_server subset --percent 17 --annotations data/coco/annotations/instances_val2017.json
#   python -m data_server subset --percent 2 --annotations data/objects365/annotations/zhiyuan_objv2_train.json
#   python -m data_server category-info --annotations data/objects365/annotations/zhiyuan_objv2_train.1@2.0.json
small_coco_train = dict(
    ann_file='coco/annotations/instances_train2017.1@5.0.json', data_prefix=dict(img='coco/train2017/'))
small_coco_val = dict(ann_file='coco/annotations/instances_val2017.1@17.0.json')
small_objects365_train = dict(ann_file='objects365/annotations/zhiyuan_objv2_train.1@2.0.json')
small_objects365_counts = '{data_root}/objects365/annotations/zhiyuan_objv2_train.1@2.0_cat_info.json'
