"""Our networks beside those of the GluonCV zoo, measured in one run: `scripts/compare_zoo.py`.

    networks      which ones, as rows of data
    worker        a process that holds one of them, and times it when asked
    rounds        all of them in turn, round by round → a row each
    weights, score, preprocess     the accuracy of files of weights, by our own scorer
    report, picture, labels        the rows as CSV, Markdown and a PNG
"""
