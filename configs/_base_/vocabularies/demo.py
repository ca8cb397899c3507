# The names of the demo's data sets, in the order of their embeddings: a colour and a shape (python -m data_server scenes).
# Each set has whole groups of names of its own, see data_server/vocabulary.py.
colours = ['red', 'orange', 'yellow', 'green', 'cyan', 'blue', 'purple', 'pink', 'white', 'black']
shapes = [
    'circle', 'square', 'triangle', 'star', 'heart', 'cross', 'ring', 'crescent', 'arrow', 'hexagon', 'bolt', 'drop']
demo_groups = dict(
    train_a=[1, 2, 3, 4, 6],
    train_b=[4, 6, 7, 8, 9],
    val_base=[1, 2, 3, 4, 6, 7, 8, 9],
    val_never_seen=[0, 5])
demo_classes = dict()
for name, groups in demo_groups.items():
    demo_classes[name] = [
        f'{colour} {shape}' for row, shape in enumerate(shapes) for column, colour in enumerate(colours)
        if (3 * row + column) % 10 in groups
    ]
del name, groups
