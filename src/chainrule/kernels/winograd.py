"""Winograd's minimal convolutions: 3 x 3 kernels with stride 1, in two to four times fewer multiplications.

    Y = A^T [ (G g G^T) * (B^T d B) ] A

for a tile of the output, ``size`` pixels wide and high, from the tile of the input ``d`` that it sees and the kernel
``g``; ``*`` multiplies entry by entry. Summed over channels, each of the (size + 2)^2 entries is one product of
matrices: tiles by input channels, times input by output channels. The gradients are the same, read backwards:

    gd = B [ (G g G^T) * (A gY A^T) ] B^T        which is the convolution of gY with the kernel turned around
    gg = G^T [ (B^T d B) * (A gY A^T) ] G

With size 4 an output takes 2.25 multiplications instead of 9, with size 2 it takes 4. The transforms add numbers of
different size, which costs digits: tests/test_kernels_convolutions.py states how many.

Source: Lavin, Gray, *Fast algorithms for convolutional neural networks* (2016), sections 4.1 to 4.3.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from chainrule.kernels.machine import external, get_num_threads, inner, jit
from chainrule.kernels.microkernel import FLOAT, INT, LANES, ROWS, WIDTH, address, transpose_square
from chainrule.kernels.parallel import in_parallel
from chainrule.kernels.products import aligned, multiply_part, multiply_strip, positive, share, strided

BLOCK = 1 << 18  # float32 entries, 1 MB: what one thread transforms at a time, to find it in its second cache

BT = {
    2: [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
    4: [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
}
G = {
    2: [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
    4: [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
}
AT = {
    2: [[1, 1, 1, 0], [0, 1, -1, -1]],
    4: [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
}
INPUT, KERNEL, OUTPUT, OUTPUT_BACK, KERNEL_BACK = range(5)
MATRICES = {
    **{(INPUT, size): np.array(matrix) for size, matrix in BT.items()},
    **{(KERNEL, size): np.array(matrix) for size, matrix in G.items()},
    **{(OUTPUT, size): np.array(matrix) for size, matrix in AT.items()},
    **{(OUTPUT_BACK, size): np.array(matrix).T for size, matrix in AT.items()},
    **{(KERNEL_BACK, size): np.array(matrix).T for size, matrix in G.items()},
}


@intrinsic(prefer_literal=True)
def transform_vectors(typing_context, which, size, source, row, column, target, to_row, to_column, plus):
    """``L s L^T`` for a square ``s`` of vectors, and one of the matrices above, ``which`` and ``size`` being constants.

    ``source`` and ``target`` are addresses, ``row`` and ``column`` the entries from one row or column to the next.
    For outputs, the vector at address ``plus`` is added to all results.
    """
    matrix = MATRICES[which.literal_value, size.literal_value]
    vector = ir.VectorType(FLOAT, LANES)
    adds = which.literal_value == OUTPUT

    def generate(context, builder, signature, args):
        source, row, column, target, to_row, to_column, plus = args[2:]

        def at(base, i, row, j, column):
            entry = builder.add(builder.mul(row, INT(i)), builder.mul(column, INT(j)))
            entries = builder.gep(builder.inttoptr(base, FLOAT.as_pointer()), [entry])
            return builder.bitcast(entries, vector.as_pointer())

        def load(place):
            found = builder.load(place)
            found.align = 4
            return found

        def combine(factors, vectors):
            total = None
            for factor, found in zip(factors, vectors, strict=True):
                if factor == 0:
                    continue
                if abs(factor) != 1:
                    found = builder.fmul(
                        found, ir.Constant(vector, [float(np.float32(abs(factor)))] * LANES), ("contract",)
                    )
                if total is None:
                    total = found if factor > 0 else builder.fneg(found)
                else:
                    total = (builder.fadd if factor > 0 else builder.fsub)(total, found, flags=("contract",))
            return total

        rows, columns = matrix.shape
        square = [[load(at(source, i, row, j, column)) for i in range(columns)] for j in range(columns)]
        left = [[combine(factors, of_column) for of_column in square] for factors in matrix]
        more = load(at(plus, 0, row, 0, column)) if adds else None
        for i in range(rows):
            for j in range(rows):
                result = combine(matrix[j], left[i])
                result = builder.fadd(result, more) if adds else result
                builder.store(result, at(target, i, to_row, j, to_column)).align = 4
        return context.get_dummy_value()

    return types.void(which, size, *[types.int64] * 7), generate


@external
def transform(which, size, source, row, column, target, to_row, to_column, plus, channels, step):
    """:func:`transform_vectors` for so many channels; ``step`` entries in the target from one vector to the next."""
    for k in range(channels // LANES):
        at, to, more = source + 4 * LANES * k, target + 4 * step * k, plus + 4 * LANES * k
        if which == INPUT:
            if size == 4:
                transform_vectors(INPUT, 4, at, row, column, to, to_row, to_column, more)
            else:
                transform_vectors(INPUT, 2, at, row, column, to, to_row, to_column, more)
        elif which == KERNEL:
            if size == 4:
                transform_vectors(KERNEL, 4, at, row, column, to, to_row, to_column, more)
            else:
                transform_vectors(KERNEL, 2, at, row, column, to, to_row, to_column, more)
        elif which == OUTPUT:
            if size == 4:
                transform_vectors(OUTPUT, 4, at, row, column, to, to_row, to_column, more)
            else:
                transform_vectors(OUTPUT, 2, at, row, column, to, to_row, to_column, more)
        elif which == OUTPUT_BACK:
            if size == 4:
                transform_vectors(OUTPUT_BACK, 4, at, row, column, to, to_row, to_column, more)
            else:
                transform_vectors(OUTPUT_BACK, 2, at, row, column, to, to_row, to_column, more)
        elif size == 4:
            transform_vectors(KERNEL_BACK, 4, at, row, column, to, to_row, to_column, more)
        else:
            transform_vectors(KERNEL_BACK, 2, at, row, column, to, to_row, to_column, more)


@inner
def pad(image, padding, padded):
    """Copy an image ``(h, w, c)`` into the middle of a larger one."""
    h, w, c = image.shape
    for i in range(h):
        for j in range(w):
            for k in range(c):
                padded[padding + i, padding + j, k] = image[i, j, k]


@inner
def transform_tiles(which, size, padded, tiles_down, tiles_across, V, tile):
    """``B^T d B`` or ``A gY A^T`` of every tile of an image, to ``V[:, tile:]``."""
    c = padded.shape[2]
    row, to_column = padded.strides[0] // 4, V.strides[0] // 4
    to_row = (size + 2) * to_column
    for down in range(tiles_down):
        for across in range(tiles_across):
            source = address(padded) + 4 * size * (down * row + across * c)
            target = address(V) + 4 * tile * c
            transform((which, size, source, row, c, target, to_row, to_column, 0, c, LANES))
            tile += 1


@inner
def transform_output(size, M, tile, left, room, bias, rectify, edge, image, tiles_down, tiles_across):
    """``A^T M A`` of every tile, plus the bias, to ``room`` channels of an image, from ``left`` on."""
    h, w, m = image.shape
    column = M.shape[1] * room
    row = (size + 2) * column
    for down in range(tiles_down):
        for across in range(tiles_across):
            source, plus = address(M) + 4 * tile * room, address(bias) + 4 * left
            if (down + 1) * size <= h and (across + 1) * size <= w:
                target = address(image) + 4 * ((down * w + across) * size * m + left)
                transform((OUTPUT, size, source, row, column, target, w * m, m, plus, room, LANES))
            else:
                transform((OUTPUT, size, source, row, column, address(edge), size * room, room, plus, room, LANES))
                for p in range(min(size, h - down * size)):
                    for q in range(min(size, w - across * size)):
                        for k in range(room):
                            image[down * size + p, across * size + q, left + k] = edge[(p * size + q) * room + k]
            if rectify:
                for p in range(down * size, min((down + 1) * size, h)):
                    for q in range(across * size, min((across + 1) * size, w)):
                        for k in range(left, left + room):
                            image[p, q, k] = positive(image[p, q, k])
            tile += 1


@inner
def transform_kernels(size, weight, turned, left, room, U, squares):
    """``G g G^T`` of the kernels of a strip of output channels, packed for :func:`multiply_rows`.

    ``weight`` is ``(m, 3, 3, c)``. Turned around, it maps its m channels to its c channels.
    """
    m, c = weight.shape[0], weight.shape[3]
    if turned:
        step = m * room  # from one entry of the tile to the next
        for k in range(m):
            source, target = address(weight) + 4 * (k * 9 * c + 8 * c + left), address(U) + 4 * k * room
            transform((KERNEL, size, source, -3 * c, -c, target, (size + 2) * step, step, 0, room, LANES))
    else:
        step, square = c * room, LANES * LANES
        of_entry = c // LANES * square
        for j in range(0, room, LANES):
            for i in range(LANES):
                source, target = address(weight) + 4 * (left + j + i) * 9 * c, address(squares) + 4 * i * LANES
                to_row = (size + 2) * of_entry
                transform((KERNEL, size, source, 3 * c, c, target, to_row, of_entry, 0, c, square))
            for entry in range((size + 2) ** 2):
                for k in range(0, c, LANES):
                    source = address(squares) + 4 * (entry * of_entry + k // LANES * square)
                    transpose_square(source, LANES, address(U) + 4 * (entry * step + k * room + j), room)


@inner
def multiply_entries(V, U, M, tiles, room):
    """``M[e] = V[e] U[e]`` over so many tiles, for a strip of ``room`` output channels."""
    entries, _, c = V.shape
    for entry in range(entries):
        of_V = address(V) + 4 * entry * V.shape[1] * c
        of_M = address(M) + 4 * entry * M.shape[1] * room
        of_U = address(U) + 4 * entry * c * room
        multiply_strip((room // LANES, tiles, of_V, c, 1, of_U, room, of_M, room, c, 0))


@inner
def transform_images(size, x, padding, first, last, down, across, V):
    """``B^T d B`` of the tiles of some images, to ``V``."""
    padded = np.zeros((down * size + 2, across * size + 2, x.shape[3]), np.float32)
    for image in range(first, last):
        pad(x[image], padding, padded)
        transform_tiles(INPUT, size, padded, down, across, V, (image - first) * down * across)


@inner
def transform_gradients(size, gy, first, last, down, across, Z):
    """``A gY A^T`` of the tiles of some images, to ``Z``."""
    padded = np.zeros((down * size, across * size, gy.shape[3]), np.float32)
    for image in range(first, last):
        pad(gy[image], 0, padded)
        transform_tiles(OUTPUT_BACK, size, padded, down, across, Z, (image - first) * down * across)


@inner
def transform_all_images(t, size, x, padding, down, across, threads, V):
    """A thread's images."""
    first, last = share(len(x), threads, t, 1), share(len(x), threads, t + 1, 1)
    transform_images(size, x, padding, first, last, down, across, V[:, first * down * across :])


@inner
def transform_all_gradients(t, size, gy, down, across, threads, Z):
    """A thread's images' gradients."""
    first, last = share(len(gy), threads, t, 1), share(len(gy), threads, t + 1, 1)
    transform_gradients(size, gy, first, last, down, across, Z[:, first * down * across :])


@inner
def transform_all_kernels(t, size, weight, turned, entries, threads, U):
    """The kernels of a thread's strips of output channels, packed."""
    c, m = (weight.shape[0], weight.shape[3]) if turned else (weight.shape[3], weight.shape[0])
    squares = aligned(entries * LANES * c)
    for left, room in strips(m, t, threads):
        of_strip = U[left * entries * c : (left + room) * entries * c]
        transform_kernels(size, weight, turned, left, room, of_strip, squares)


@inner
def strips(m, t, threads):
    """Where a thread's strips of output channels begin, and how wide they are."""
    count = -(-m // WIDTH)
    return [
        (s * WIDTH, min(WIDTH, m - s * WIDTH))
        for s in range(share(count, threads, t, 1), share(count, threads, t + 1, 1))
    ]


@inner
def convolve_channels(t, size, V, weight, turned, bias, rectify, y, down, across, threads):
    """A thread's output channels of all images, whose tiles are transformed already."""
    entries, tiles, c = V.shape
    U = aligned(entries * c * WIDTH)
    M = aligned(entries * tiles * WIDTH).reshape(entries, tiles, WIDTH)
    squares, edge = aligned(entries * LANES * c), aligned(size * size * WIDTH)
    for left, room in strips(y.shape[3], t, threads):
        transform_kernels(size, weight, turned, left, room, U, squares)
        multiply_entries(V, U, M, tiles, room)
        for image in range(len(y)):
            tile = image * down * across
            transform_output(size, M, tile, left, room, bias, rectify, edge, y[image], down, across)


@inner
def convolve_images(t, size, x, padding, U, bias, rectify, y, down, across, threads):
    """A thread's images, with kernels that are transformed already."""
    n, c = x.shape[0], x.shape[3]
    entries, tiles = (size + 2) ** 2, down * across
    first, last = share(n, threads, t, 1), share(n, threads, t + 1, 1)
    together = max(1, min(last - first, BLOCK // (entries * tiles * c)))  # images
    V = aligned(entries * together * tiles * c).reshape(entries, together * tiles, c)
    M = aligned(entries * together * tiles * WIDTH).reshape(entries, together * tiles, WIDTH)
    edge = aligned(size * size * WIDTH)
    for begin in range(first, last, together):
        end = min(last, begin + together)
        transform_images(size, x, padding, begin, end, down, across, V)
        for left, room in strips(y.shape[3], 0, 1):
            multiply_entries(V, U[left * entries * c :], M, (end - begin) * tiles, room)
            for image in range(begin, end):
                tile = (image - begin) * tiles
                transform_output(size, M, tile, left, room, bias, rectify, edge, y[image], down, across)


@jit
def convolve(x, weight, turned, bias, rectify, padding, size, y):
    """The convolution of images ``(n, h, w, c)`` with ``(m, 3, 3, c)``, or with the kernels turned around."""
    n, c = x.shape[0], x.shape[3]
    _, ho, wo, m = y.shape
    down, across = -(-ho // size), -(-wo // size)
    tiles, entries = down * across, (size + 2) ** 2
    # Few tiles: the threads share the channels, all images are transformed first, a strip of kernels when it is used.
    # Many tiles: the threads share the images, all kernels are transformed first, some images when they are used.
    threads = get_num_threads()
    if 2 * n * tiles <= m:
        V = aligned(entries * n * tiles * c).reshape(entries, n * tiles, c)
        in_parallel(transform_all_images, threads, (size, x, padding, down, across, threads, V))
        arguments = size, V, weight, turned, bias, rectify, y, down, across, threads
        in_parallel(convolve_channels, threads, arguments)
    else:
        U = aligned(entries * c * m)
        in_parallel(transform_all_kernels, threads, (size, weight, turned, entries, threads, U))
        in_parallel(convolve_images, threads, (size, x, padding, U, bias, rectify, y, down, across, threads))


@inner
def gradient_of_images(t, size, x, gy, padding, down, across, threads, parts):
    """What a thread's images add to the gradient of the transformed kernels, to ``parts[t]``."""
    gU = parts[t]
    n, c, m = x.shape[0], x.shape[3], gy.shape[3]
    entries, tiles = (size + 2) ** 2, down * across
    first, last = share(n, threads, t, 1), share(n, threads, t + 1, 1)
    together = max(1, min(last - first, BLOCK // (entries * tiles * max(m, c))))
    V = aligned(entries * together * tiles * c).reshape(entries, together * tiles, c)
    Z = aligned(entries * together * tiles * m).reshape(entries, together * tiles, m)
    if first == last:
        gU[:] = 0
    for begin in range(first, last, together):
        end = min(last, begin + together)
        transform_images(size, x, padding, begin, end, down, across, V)
        transform_gradients(size, gy, begin, end, down, across, Z)
        used = (end - begin) * tiles
        multiply_transposed_entries(Z[:, :used], V[:, :used], gU, begin > first)


@inner
def add_gradients(t, size, gU, threads, gweight):
    """For a thread's output channels the sum over all threads' images, transformed back."""
    parts, entries, m, c = gU.shape
    low, high = share(m, threads, t, 1), share(m, threads, t + 1, 1)
    for part in range(1, parts):
        for entry in range(entries):
            for i in range(low, high):
                for k in range(c):
                    gU[0, entry, i, k] += gU[part, entry, i, k]
    transform_kernels_back(size, gU[0, :, low:high], high - low, gweight[low:high])


@inner
def gradient_of_channels(t, size, V, Z, threads, gweight):
    """For a thread's output channels the sum over all images, whose tiles are transformed already."""
    entries, _, c = V.shape
    m = Z.shape[2]
    low, high = share(m, threads, t, 1), share(m, threads, t + 1, 1)
    channels = max(1, BLOCK // (entries * c * ROWS)) * ROWS  # at a time
    gU = aligned(entries * channels * c).reshape(entries, channels, c)
    for i in range(low, high, channels):
        last = min(high, i + channels)
        multiply_transposed_entries(Z[:, :, i:last], V, gU[:, : last - i], np.bool_(False))
        transform_kernels_back(size, gU, last - i, gweight[i:last])


@jit
def kernel_gradient(x, gy, padding, size, gweight):
    """The gradient ``(m, 3, 3, c)`` of the kernels, from images ``(n, h, w, c)`` and gradients ``(n, ho, wo, m)``."""
    n, c = x.shape[0], x.shape[3]
    _, ho, wo, m = gy.shape
    down, across = -(-ho // size), -(-wo // size)
    tiles, entries = down * across, (size + 2) ** 2
    threads = get_num_threads()
    if entries * m * c > BLOCK:  # the sums do not fit into a cache: some channels of them at a time, over all images
        V = aligned(entries * n * tiles * c).reshape(entries, n * tiles, c)
        Z = aligned(entries * n * tiles * m).reshape(entries, n * tiles, m)
        in_parallel(transform_all_images, threads, (size, x, padding, down, across, threads, V))
        in_parallel(transform_all_gradients, threads, (size, gy, down, across, threads, Z))
        in_parallel(gradient_of_channels, threads, (size, V, Z, threads, gweight))
    else:
        gU = aligned(threads * entries * m * c).reshape(threads, entries, m, c)
        in_parallel(gradient_of_images, threads, (size, x, gy, padding, down, across, threads, gU))
        in_parallel(add_gradients, threads, (size, gU, threads, gweight))


@inner
def multiply_transposed_entries(Z, V, gU, add):
    """``gU[e] = Z[e]^T V[e]``, or that added, for every entry of the tile."""
    entries, m, c = gU.shape
    for entry in range(entries):
        a, b = strided(Z[entry], True), strided(V[entry], False)
        multiply_part(a, b, strided(gU[entry], False), np.int64(0), m, np.int64(0), c, add)


@inner
def transform_kernels_back(size, gU, m, gweight):
    """``G^T gU G`` of the kernels of m output channels."""
    c = gU.shape[2]
    column = gU.strides[0] // 4
    for i in range(m):
        source, target = address(gU) + 4 * i * c, address(gweight) + 4 * i * 9 * c
        transform((KERNEL_BACK, size, source, (size + 2) * column, column, target, 3 * c, c, 0, c, LANES))


def tile_size(x_shape, weight_shape, stride, padding, out):
    """Width of the tiles by which a convolution is done, or None where Winograd's way is not open, or too small."""
    (n, c, _, _), (m, _, *kernel) = x_shape, weight_shape
    fits = kernel == [3, 3] and stride == (1, 1) and padding[0] == padding[1] <= 2
    if not fits or c % LANES or m % LANES:
        return None
    # Size 4 has fewer products, and kernels that take 36 / 9 of their memory: they must be used by enough tiles.
    tiles = n * -(-out[0] // 4) * -(-out[1] // 4)
    return 4 if tiles >= 64 and min(out) > 2 else 2
