"""Matrix products of float32, in tiles: C = A B or C + A B, for matrices with any strides.

The result is cut into strips of columns. The rows of B that a strip needs are packed side by side, so that they are
read in order, and stay in the first cache while all rows of A pass by. Threads share the columns, or the rows where
there are few columns, or the products in each entry where there are few of both.
"""

import numpy as np
from numpy.lib.stride_tricks import as_strided

from chainrule.kernels.machine import external, get_num_threads, inner, jit
from chainrule.kernels.microkernel import (
    LANES,
    TILES,
    VECTORS,
    WIDTH,
    address,
    copy_vector,
    multiply_rows,
    prefetch,
    transpose_square,
)
from chainrule.kernels.parallel import in_parallel

DEPTH = 256  # of a packed strip: 32 KB with 32 columns, which a first cache holds
ROW = DEPTH + LANES  # of a row of A that is copied: no power of two, see `far`
LINE = 64  # bytes of a line of the cache
NO_BIAS = np.empty(0, np.float32)
FEW, DEEP = 1 << 13, 1024  # entries, and products in each, for which the threads share these products
SERIAL = 1 << 17  # so few multiplications are done before a second thread has begun


@inner
def pack(b, first, depth, left, width, strip):
    """Copy ``b[first : first + depth, left : left + width]`` to rows of whole vectors, filled up with zeros."""
    room = -(-width // LANES) * LANES
    b_k, b_j = b.strides
    source = address(b) + first * b_k + left * b_j
    whole = 0  # so many rows are packed by transposing squares
    if b_k == 4 and width == room:
        whole = depth // LANES * LANES
        for j in range(0, room, LANES):
            prefetch_rows(source + j * b_j + 4 * DEPTH, b_j, LANES)
            for k in range(0, whole, LANES):
                transpose_square(source + 4 * k + j * b_j, b_j // 4, address(strip) + 4 * (k * room + j), room)
    if b_j == 4 and width == WIDTH:
        for k in range(depth):
            prefetch(source + k * b_k + 4 * WIDTH)
            prefetch(source + k * b_k + 4 * WIDTH + LINE)
            for j in range(0, WIDTH, LANES):
                copy_vector(source + k * b_k + 4 * j, address(strip) + 4 * (k * WIDTH + j))
    else:
        for k in range(whole, depth):
            for j in range(width):
                strip[k * room + j] = b[first + k, left + j]
            for j in range(width, room):
                strip[k * room + j] = 0
    return room // LANES


@inner
def pack_columns(a, top, rows, first, depth, packed):
    """Copy ``a[top : top + rows, first : first + depth]``, stored by columns, tile after tile, each by columns."""
    at, a_k = 0, a.strides[1]
    while rows:
        size = TILES[0]
        if rows < size:
            size = 1
            while 2 * size <= rows and 2 * size < TILES[0]:
                size *= 2
        whole = 0
        if size == TILES[0] and rows >= size + LANES:  # whole vectors, of which the next one overwrites the end
            whole = depth
            for k in range(depth):
                copy_vector(address(a) + 4 * top + (first + k) * a_k, address(packed) + 4 * (at + k * size))
        for k in range(whole, depth):
            for i in range(size):
                packed[at + k * size + i] = a[top + i, first + k]
        at += size * depth
        top += size
        rows -= size


@inner
def pack_rows(a, top, rows, first, depth, packed):
    """Copy ``a[top : top + rows, first : first + depth]``, stored by rows, to rows of ``ROW`` entries."""
    whole = depth // LANES * LANES
    for i in range(rows):
        source = address(a) + (top + i) * a.strides[0] + 4 * first
        for k in range(0, whole, LANES):
            copy_vector(source + 4 * k, address(packed) + 4 * (i * ROW + k))
        for k in range(whole, depth):
            packed[i * ROW + k] = a[top + i, first + k]


@inner
def prefetch_rows(place, step, rows):
    """Fetch ``DEPTH`` entries of each row: they are packed next, and are too far apart for the processor to foresee."""
    for i in range(rows):
        for k in range(0, 4 * DEPTH, LINE):
            prefetch(place + i * step + k)


@inner
def aligned(floats):
    """Room for so many float32, from the beginning of a cache line on."""
    room = np.empty(floats + LANES, np.float32)
    start = (-address(room) // 4) % LANES
    return room[start : start + floats]


@external
def multiply_strip(vectors, rows, a, a_row, a_k, b, b_k, c, c_row, depth, add):
    """See :func:`multiply_rows`."""
    if vectors == 1:
        multiply_rows(1, rows, a, a_row, a_k, b, b_k, c, c_row, depth, add)
    else:
        multiply_rows(VECTORS, rows, a, a_row, a_k, b, b_k, c, c_row, depth, add)


@inner
def positive(v):
    """ReLU of a number, with the same bits as ``elementwise``: NaN stays NaN."""
    return np.float32(0) if v < 0 else v


@inner
def finish(c, top, bottom, left, right, bias, rectify):
    """Add the bias and take the positive part, where they are asked for."""
    for i in range(top, bottom):
        if len(bias) and rectify:
            for j in range(left, right):
                c[i, j] = positive(c[i, j] + bias[j])
        elif len(bias):
            for j in range(left, right):
                c[i, j] += bias[j]
        elif rectify:
            for j in range(left, right):
                c[i, j] = positive(c[i, j])


@inner
def multiply_part(a, b, c, top, bottom, left, right, add):
    """The rows from ``top`` to ``bottom`` and the columns from ``left`` to ``right`` of the product."""
    depth, rows = a.shape[1], bottom - top
    a_row, a_k, b_k, c_row = a.strides[0] // 4, a.strides[1] // 4, b.strides[0] // 4, c.strides[0] // 4
    strip = aligned(DEPTH * WIDTH)
    edge = aligned(rows * WIDTH if (right - left) % LANES else 0)
    by_columns = a_row == 1 and rows > 1 and a_k > WIDTH  # else the columns follow each other closely enough
    far = a_k == 1 and a_row % 1024 == 0 and rows > 1  # all rows of a tile would compete for the same cache lines
    packed = aligned(rows * ROW if by_columns or far else 0)
    straight = b.strides[1] == 4 and rows <= 2 * TILES[0]  # B is read too seldom to be worth packing
    if depth == 0 and not add:
        c[top:bottom, left:right] = 0
    for first in range(0, depth, DEPTH):
        part = min(DEPTH, depth - first)
        a_at = address(a) + 4 * (top * a_row + first * a_k)
        if by_columns:
            pack_columns(a, top, rows, first, part, packed)
            a_at, a_row, a_k = address(packed), 1, 0
        elif far:
            pack_rows(a, top, rows, first, part, packed)
            a_at, a_row, a_k = address(packed), ROW, 1
        adds = np.int64(add or first > 0)
        for j in range(left, right, WIDTH):
            width = min(WIDTH, right - j)
            c_at = address(c) + 4 * (top * c_row + j)
            if straight and width == WIDTH:
                b_at = address(b) + 4 * (first * b_k + j)
                multiply_strip((VECTORS, rows, a_at, a_row, a_k, b_at, b_k, c_at, c_row, part, adds))
                continue
            vectors = pack(b, first, part, j, width, strip)
            room = vectors * LANES
            if width == room:
                multiply_strip((vectors, rows, a_at, a_row, a_k, address(strip), room, c_at, c_row, part, adds))
            else:
                multiply_strip((vectors, rows, a_at, a_row, a_k, address(strip), room, address(edge), WIDTH, part, 0))
                for i in range(rows):
                    for jj in range(width):
                        c[top + i, j + jj] = edge[i * WIDTH + jj] + (c[top + i, j + jj] if adds else np.float32(0))


@inner
def share(n, parts, part, unit):
    """Where a part of n begins, if n is cut into parts of whole units that are as equal as can be."""
    return min(n, (-(-n // unit) * part // parts) * unit)


@inner
def strided(a, transposed):
    """``a`` or its transpose, as an array of any strides: one type, so that what uses it is compiled once."""
    rows, columns = a.shape
    row, column = a.strides
    if transposed:
        rows, columns, row, column = columns, rows, column, row
    return as_strided(a, (rows, columns), (row, column))


@inner
def multiply_share(t, a, b, c, add, bias, rectify, threads):
    """What thread t does: some of the columns, or of the rows where there are few columns."""
    rows, columns = c.shape
    top, bottom, left, right = 0, rows, 0, columns
    if columns >= 2 * WIDTH * threads:
        left, right = share(columns, threads, t, LANES), share(columns, threads, t + 1, LANES)
    else:
        top, bottom = share(rows, threads, t, 2), share(rows, threads, t + 1, 2)
    multiply_part(a, b, strided(c, False), top, bottom, left, right, add)
    finish(c, top, bottom, left, right, bias, rectify)


@inner
def multiply_depth(t, a, b, parts):
    """What thread t does where there are few entries, but many products in each: a share of these."""
    threads, rows, columns = parts.shape
    first, last = share(a.shape[1], threads, t, LANES), share(a.shape[1], threads, t + 1, LANES)
    c = strided(parts[t], False)
    multiply_part(a[:, first:last], b[first:last], c, np.int64(0), rows, np.int64(0), columns, np.bool_(False))


@jit
def multiply(a, a_transposed, b, b_transposed, c, add, bias, rectify):
    """C = A B, or C + A B, plus a bias for each column unless it is empty; negative entries become 0 if asked for.

    ``a`` and ``b`` are stored by rows, or by columns where they are given as their transposes, without gaps.
    """
    a, b = strided(a, a_transposed), strided(b, b_transposed)
    rows, columns = c.shape
    threads = 1 if rows * columns * a.shape[1] < SERIAL else get_num_threads()
    if threads > 1 and rows * columns < FEW and a.shape[1] >= DEEP * threads:
        parts = aligned(threads * rows * columns).reshape(threads, rows, columns)
        in_parallel(multiply_depth, threads, (a, b, parts))
        for i in range(rows):
            for j in range(columns):
                total = c[i, j] if add else np.float32(0)
                for t in range(threads):
                    total += parts[t, i, j]
                c[i, j] = total
        finish(c, 0, rows, 0, columns, bias, rectify)
    else:
        in_parallel(multiply_share, threads, (a, b, c, add, bias, rectify, threads))
