# LVIS v0.5, never trained on: the open world to be judged by; 1230 classes. Needs the package lvis:
# pip install 'unidetector-jittor[lvis]'
lvis_val = dict(
    type='LVISV05Dataset',
    ann_file='lvis_v0.5/annotations/lvis_v0.5_val.json',
    data_prefix=dict(img='lvis_v0.5/val2017/'))
lvis_embeddings = '{data_root}/clip_embeddings/lvis_v0.5_clip_a+cname_rn50_manyprompt.npy'
lvis_metric = dict(type='LVISMetric', metric='bbox')
