"""The innermost loop of every matrix product: a tile of the result that stays in the processor's vector registers.

    C[i, j] (+)= sum_k A[i, k] B[k, j]        for i < rows, j < lanes * vectors

For each k, one row of B is loaded as vectors, and each of A's entries, spread over a vector, is multiplied with them
and added to that row of the tile: ``rows * vectors`` independent fused multiply-adds, enough to keep both units of the
processor busy. Numba's own loops do not keep such a tile in registers, so the loop is written in LLVM's language, the
one that Numba translates Python into: one function, generated for each size of the tile.

Source: Goto, van de Geijn, *Anatomy of high-performance matrix multiplication* (2008).
"""

from __future__ import annotations

from llvmlite import binding, ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

INT, FLOAT = ir.IntType(64), ir.FloatType()


def _tile() -> tuple[int, int, int]:
    """Lanes of a vector, vectors in a row of the tile, rows: as many as fit into the registers beside a row of B."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 16, 2, 14  # 32 registers: 28 for the tile, 2 for B, the rest for A
    if features.get("avx2") and features.get("fma"):
        return 8, 2, 6  # 16 registers
    return 4, 2, 12  # 32 registers of NEON


LANES, VECTORS, ROWS = _tile()
WIDTH = LANES * VECTORS  #: columns of a full tile


def _halves(rows: int) -> tuple[int, ...]:
    """Tiles for what is left at the end: the full one, and powers of two below it."""
    return rows, *(2**e for e in range(rows.bit_length() - 1, -1, -1) if 2**e < rows)


TILES = _halves(ROWS)


@intrinsic(prefer_literal=True)
def multiply_rows(typing_context, vectors, rows, a, a_row, a_k, b, b_k, c, c_row, depth, add):
    """Multiply so many rows of A, tile after tile, with a strip of B of so many vectors (a constant).

    ``a``, ``b`` and ``c`` are addresses, the others count float32 entries: ``a_row`` from one row of A to the next,
    ``a_k`` from one k to the next, and so on. ``a_k = 0`` stands for an A that ``pack_columns`` packed. ``add`` is 1 if
    the product is added to C, 0 if it replaces it.
    """

    def generate(context, builder, signature, args):
        rows, a, a_row, a_k, b, b_k, c, c_row, depth, add = args[1:]
        packed = builder.icmp_signed("==", a_k, INT(0))
        for size in TILES:  # one tile after the other, while there are rows enough; then a smaller one
            before = builder.block
            head, body, end = (builder.append_basic_block(f"{name}{size}") for name in ("head", "body", "end"))
            step_k = builder.select(packed, INT(size), a_k)
            tile_of_a = builder.select(packed, builder.mul(depth, INT(4 * size)), builder.mul(a_row, INT(4 * size)))
            builder.branch(head)
            builder.position_at_end(head)
            at = [builder.phi(INT) for _ in range(3)]  # rows left, A and C at the next tile
            for now, start in zip(at, (rows, a, c), strict=True):
                now.add_incoming(start, before)
            rows, a, c = at
            builder.cbranch(builder.icmp_signed(">=", rows, INT(size)), body, end)
            builder.position_at_end(body)
            tile = _multiply_tile(builder.module, size, vectors.literal_value)
            builder.call(tile, [a, a_row, step_k, b, b_k, c, c_row, depth, add])
            at[0].add_incoming(builder.sub(rows, INT(size)), body)
            at[1].add_incoming(builder.add(a, tile_of_a), body)
            at[2].add_incoming(builder.add(c, builder.mul(c_row, INT(4 * size))), body)
            builder.branch(head)
            builder.position_at_end(end)
        return context.get_dummy_value()

    return types.void(vectors, *[types.int64] * 10), generate


def _multiply_tile(module, rows, vectors):
    """The function for one tile: the loop over k, then its sums to C.

    It stands alone, and none of its arguments is a constant to the compiler: else the sums do not stay in registers.
    """
    name = f"chainrule.tile.{rows}.{vectors}"
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [INT] * 9), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    a, a_row, a_k, b, b_k, c, c_row, depth, add = function.args
    vector = ir.VectorType(FLOAT, LANES)
    undefined = ir.Constant(vector, ir.Undefined)
    to_every_lane = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    tile = [(i, j) for i in range(rows) for j in range(vectors)]
    multiply_add = get_or_insert_function(module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f32")

    def place(address, *offsets):
        entries = builder.inttoptr(address, FLOAT.as_pointer())
        for offset in offsets:
            entries = builder.gep(entries, [offset])
        return entries

    def load(entry):
        found = builder.load(builder.bitcast(entry, vector.as_pointer()))
        found.align = 4
        return found

    def spread(entry):
        first = builder.insert_element(undefined, builder.load(entry), ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(first, undefined, to_every_lane)

    row_of_a = [place(a, builder.mul(a_row, INT(i))) for i in range(rows)]
    before, loop, after = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("after")
    builder.branch(loop)

    builder.position_at_end(loop)
    k = builder.phi(INT)
    sums = {ij: builder.phi(vector) for ij in tile}
    b_row = [load(place(b, builder.mul(k, b_k), INT(j * LANES))) for j in range(vectors)]
    grown = {}
    for i in range(rows):
        entry = spread(builder.gep(row_of_a[i], [builder.mul(k, a_k)]))
        for j in range(vectors):
            grown[i, j] = builder.call(multiply_add, [entry, b_row[j], sums[i, j]])
    next_k = builder.add(k, INT(1))
    k.add_incoming(INT(0), before)
    k.add_incoming(next_k, loop)
    for ij in tile:
        sums[ij].add_incoming(ir.Constant(vector, [0.0] * LANES), before)
        sums[ij].add_incoming(grown[ij], loop)
    builder.cbranch(builder.icmp_signed("<", next_k, depth), loop, after)

    builder.position_at_end(after)
    with builder.if_else(builder.icmp_signed("!=", add, INT(0))) as branches:
        for branch, added in zip(branches, (True, False), strict=True):
            with branch:
                for i, j in tile:
                    entry = place(c, builder.mul(c_row, INT(i)), INT(j * LANES))
                    total = builder.fadd(load(entry), grown[i, j]) if added else grown[i, j]
                    builder.store(total, builder.bitcast(entry, vector.as_pointer())).align = 4
    builder.ret_void()
    return function


@intrinsic
def address(typing_context, array):
    """Where an array's memory begins."""

    def generate(context, builder, signature, args):
        found = make_array(signature.args[0])(context, builder, args[0])
        return builder.ptrtoint(found.data, INT)

    return types.int64(array), generate


@intrinsic
def prefetch(typing_context, place):
    """Fetch the cache line at an address to the second cache, without waiting for it."""

    def generate(context, builder, signature, args):
        number = ir.IntType(32)
        pointer = ir.IntType(8).as_pointer()
        of_type = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        fetch = get_or_insert_function(builder.module, of_type, "llvm.prefetch.p0")
        builder.call(fetch, [builder.inttoptr(args[0], pointer), number(0), number(2), number(1)])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def copy_vector(typing_context, source, target):
    """Copy a vector from one address to another."""

    def generate(context, builder, signature, args):
        vector = ir.VectorType(FLOAT, LANES).as_pointer()
        found = builder.load(builder.inttoptr(args[0], vector))
        found.align = 4
        builder.store(found, builder.inttoptr(args[1], vector)).align = 4
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def transpose_square(typing_context, a, a_row, b, b_row):
    """Write the transpose of the square of ``LANES`` rows at address ``a`` to address ``b``; strides in entries.

    In each step the squares beside the diagonal change places, at first halves of the matrix, at last single entries.
    """
    vector = ir.VectorType(FLOAT, LANES)

    def generate(context, builder, signature, args):
        a, a_row, b, b_row = args

        def row(address, stride, i):
            entries = builder.inttoptr(address, FLOAT.as_pointer())
            return builder.bitcast(builder.gep(entries, [builder.mul(stride, INT(i))]), vector.as_pointer())

        rows = []
        for i in range(LANES):
            rows.append(builder.load(row(a, a_row, i)))
            rows[i].align = 4
        step = LANES // 2
        while step:
            for i in range(LANES):
                if not i & step:
                    upper = [e if not e & step else LANES + e - step for e in range(LANES)]
                    lower = [e + step if not e & step else LANES + e for e in range(LANES)]
                    rows[i], rows[i + step] = (
                        builder.shuffle_vector(
                            rows[i], rows[i + step], ir.Constant(ir.VectorType(ir.IntType(32), LANES), e)
                        )
                        for e in (upper, lower)
                    )
            step //= 2
        for i in range(LANES):
            builder.store(rows[i], row(b, b_row, i)).align = 4
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate
