"""Pictures of runs."""
import io
import json
from pathlib import Path

from .files import write_whole


def learning_curve(log, png):
    """Draw a run's `log.jsonl`: accuracy and its error by epoch above, loss and learning rate by step below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    lines = [json.loads(line) for line in Path(log).read_text().splitlines()]
    steps = [line for line in lines if 'lr' in line]
    epochs = [line for line in lines if 'val_top1' in line]
    figure = Figure(figsize=(8, 6), layout='constrained')
    FigureCanvasAgg(figure)
    accuracy, loss = figure.subplots(2, 1, sharex=True)
    at = [line['step'] for line in epochs]
    for key, name in (('train_top1', 'training (augmented)'), ('val_top1', 'validation')):
        accuracy.plot(at, [100 * line[key] for line in epochs], marker='o', markersize=3, label=name)
    if epochs:
        accuracy.set_title(f'top-1 after {len(epochs)} epochs: {100 * epochs[-1]["val_top1"]:.2f} % '
                           f'of {epochs[-1]["val_images"]} held-out images')
    accuracy.set_ylabel('top-1 accuracy, %')
    accuracy.grid(alpha=0.3)
    accuracy.legend(loc='lower right')
    loss.plot([line['step'] for line in steps], [line['loss'] for line in steps], color='tab:red', label='loss')
    loss.set_ylabel('training loss')
    loss.set_xlabel('step')
    loss.set_ylim(bottom=0)
    rate = loss.twinx()
    rate.plot([line['step'] for line in steps], [line['lr'] for line in steps], color='tab:gray', linestyle='--')
    rate.set_ylabel('learning rate (dashed)')
    rate.set_ylim(bottom=0)
    image = io.BytesIO()
    figure.savefig(image, format='png', dpi=100)
    write_whole(png, image.getvalue())
