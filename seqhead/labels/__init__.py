"""Label files of three formats, and their join with the series and slices of a store.

::

    lines.py       bytes of a CSV -> header and rows, each with its line number
    file.py        what every format ends as: one LabelFile
    table.py       DICOM keywords as columns, every other column a label
    cq500.py       reads.csv of CQ500, majority of three readers
    rsna.py        stage-2 CSV of the RSNA 2019 challenge, slice level
    reading.py     a path and a format name -> LabelFile
    readers.py     what human readers said of scans, one LabelFile for each
    join.py        LabelFile + store -> targets of its series and slices
    statistics.py  how many patients, series and slices show what
"""
