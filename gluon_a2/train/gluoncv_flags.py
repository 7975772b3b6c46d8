"""The flags of GluonCV's two training scripts that ours do not have, and what to do instead.

The scripts are `train_imagenet.py` and `train_recognizer.py` of GluonCV 0.11, with 119 flags. The
others of them have the same name here.
"""
from __future__ import annotations

_RESUME = 'give --resume and --save-dir, which restore weights, optimizer and order at once'
_TEACHER = 'the paper trains without a teacher, and distillation is not here'
_SLOWFAST = 'SlowFast networks are not here'
_READ = 'leave it out, because PyAV reads videos and folders of frames are recognized'
_GEOMETRY = 'give --input-size and --crop-ratio, and say with --stretch where frames become squares'

ANSWERS = {
    # both scripts
    'lr-decay-period': 'give the epochs themselves, as in --lr-decay-epoch 30,60,90',
    'mode': 'leave it out, because every network is hybridized',
    'use-pretrained': 'give the weights, as in --pretrained FILE',
    'use_se': 'choose a network with squeeze-and-excitation, as in --model se_resnet50',
    'batch-norm': 'leave it out, because every network here has BatchNorm',
    'use-gn': 'the paper normalizes by BatchNorm, and GroupNorm is not here',
    'teacher': _TEACHER, 'temperature': _TEACHER, 'hard-weight': _TEACHER,
    'resume-epoch': _RESUME, 'resume-params': _RESUME, 'resume-states': _RESUME,
    # images
    'data-backend': 'leave it out, because OpenCV decodes in processes of its own (-j); DALI is '
                    'not here',
    'use-rec': 'give --data-dir with train.rec in it, or --rec-train',
    'rgb-mean': 'give --mean', 'rgb-std': 'give --std',
    'num-training-samples': 'leave it out, because the samples are counted',
    # videos
    'dataset': 'give --data-dir of class folders, --list-train with --list-format, or --split for '
               'UCF-101',
    'val-data-dir': 'give --data-dir, whose folder val/ is used, or --list-val',
    'train-list': 'give --list-train', 'val-list': 'give --list-val',
    'hashtag': 'give the weights, as in --pretrained FILE',
    'eval': 'run the command score (scripts/score.py), which takes a run or exported files',
    'num-segments': 'give --views, the clips of a video when it is scored',
    'use-tsn': 'temporal segment networks are not here',
    'new-height': _GEOMETRY, 'new-width': _GEOMETRY,
    'new-length': 'give --frames', 'new-step': 'give --frame-stride',
    'clip-grad': 'give --clip-gradient',
    'partial-bn': 'give --freeze with the names of the layers',
    'freeze-bn': "give --freeze with the names of the layers, as in --freeze '.*bn'",
    'num-classes': 'give --classes',
    'scale-ratios': 'give --max-scale, --min-aspect and --max-aspect',
    'use-amp': 'give --dtype float16, or bfloat16 on a CPU',
    'prefetch-ratio': 'leave it out, because each of the -j processes reads ahead',
    'kvstore': 'give -np, because every device has a process of its own',
    'input-5d': 'leave it out, because the network says so',
    'video-loader': _READ, 'use-decord': _READ,
    'slowfast': _SLOWFAST, 'slow-temporal-stride': _SLOWFAST, 'fast-temporal-stride': _SLOWFAST,
    'num-crop': 'give --crops, the windows of a clip when it is scored',
    'data-aug': 'give --max-scale, --hue, --saturation and --lightness',
    'train-only': 'leave it out, because validation chooses the best checkpoint',
    'more-fix-crop': 'leave it out, because windows lie anywhere',
    'max-distort': 'give --min-aspect and --max-aspect',
}
