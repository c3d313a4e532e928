"""Loops whose rounds the threads share.

Numba's own, over ``prange``, take twice as long to compile: the body goes through its passes twice, and becomes a
part of three libraries of machine code. And each takes the interpreter's lock when it begins, which is held for long
where Python runs in another thread.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.callconv import errcode_t, excinfo_ptr_t
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

SERIAL = 20_000  # entries below which waking the other threads costs more than they save
INT, ADDRESS = cgutils.intp_t, cgutils.voidptr_t
#: What Numba's threads call, as if it were a ufunc: with arrays, the sizes of their axes, their strides, other data.
LOOP = ir.FunctionType(ir.VoidType(), [ADDRESS.as_pointer(), INT.as_pointer(), INT.as_pointer(), ADDRESS])
CODE, EXCEPTION, COUNT, PARTS, VALUES = range(5)  # of the struct that a loop is given: how it failed, and what it does


@intrinsic
def in_parallel(typing_context, body, count, arguments, pays=True):
    """``body(i, *arguments)`` for each i below ``count``, which the threads share, each taking a run of them.

    ``body`` is an :func:`~chainrule.kernels.machine.inner` function without a result. Unless it ``pays``, the calling
    thread does all alone: waking the others would take longer. What a round raises is raised, after the other rounds.

    >>> from chainrule.kernels.machine import inner, jit
    >>> @inner
    ... def scale_row(i, x, factor):
    ...     for j in range(x.shape[1]):
    ...         x[i, j] *= factor
    >>> @jit
    ... def scale(x, factor):
    ...     in_parallel(scale_row, len(x), (x, factor))
    """
    of_body = body.get_call_type(typing_context, (types.int64, *map(types.unliteral, arguments.types)), {})

    def generate(context, builder, signature, given):
        _, count, values, pays = given
        compiled = body.dispatcher.get_compile_result(of_body)
        context.add_linking_libs([compiled.library])
        pairs = zip(cgutils.unpack_tuple(builder, values), arguments.types, of_body.args[1:], strict=True)
        values = [context.cast(builder, value, of_value, of_argument) for value, of_value, of_argument in pairs]
        get_num_threads = cgutils.get_or_insert_function(builder.module, ir.FunctionType(INT, []), "get_num_threads")
        parts = builder.call(get_num_threads, [])
        several = builder.and_(builder.icmp_signed(">", parts, INT(1)), builder.icmp_signed(">", count, INT(1)))
        several = builder.and_(several, pays)
        nothing = ir.Constant(errcode_t, 0), ir.Constant(excinfo_ptr_t, None)
        work = cgutils.alloca_once_value(builder, cgutils.pack_struct(builder, [*nothing, count, parts, *values]))
        loop = _loop(context, builder.module, of_body, compiled.fndesc, work.type)
        _run(builder, loop, parts, several, builder.bitcast(work, ADDRESS))
        code, exception = _load(builder, work, CODE), _load(builder, work, EXCEPTION)
        status = context.call_conv._get_return_status(builder, code, exception)
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(body, types.int64, arguments, types.boolean), generate


def _load(builder: ir.IRBuilder, work: ir.Value, place: int) -> ir.Value:
    return builder.load(cgutils.gep_inbounds(builder, work, 0, place))


def _loop(context: Any, module: ir.Module, of_body: Any, described: Any, of_work: ir.Type) -> ir.Function:
    """The function that does some parts of the work: ``dims[0]`` of them, from the one whose number is ``args[0]`` on.

    Part p of n are the rounds from ``count * p / n`` on.
    """
    loop = ir.Function(module, LOOP, module.get_unique_name("in_parallel"))
    loop.linkage = "internal"
    builder = ir.IRBuilder(loop.append_basic_block("entry"))
    args, dims, _, data = loop.args
    work = builder.bitcast(data, of_work)
    count, parts = _load(builder, work, COUNT), _load(builder, work, PARTS)
    values = [
        _lent(context, builder, of_value, _load(builder, work, VALUES + i))
        for i, of_value in enumerate(of_body.args[1:])
    ]
    first = builder.ptrtoint(builder.load(args), INT)
    after = builder.add(first, builder.load(dims))
    begin, end = (builder.sdiv(builder.mul(count, part), parts) for part in (first, after))
    with cgutils.for_range_slice(builder, begin, end, INT(1)) as (i, _):
        status, _ = context.call_internal_no_propagate(builder, described, of_body, [i, *values])
        with cgutils.if_unlikely(builder, status.is_error):
            builder.store(status.code, cgutils.gep_inbounds(builder, work, 0, CODE))
            builder.store(status.excinfoptr, cgutils.gep_inbounds(builder, work, 0, EXCEPTION))
    builder.ret_void()
    return loop


def _lent(context: Any, builder: ir.IRBuilder, of_value: types.Type, value: ir.Value) -> ir.Value:
    """An array without its owner, so that threads do not count references to it, all of them in the same place."""
    if not isinstance(of_value, types.Array):
        return value
    array = make_array(of_value)(context, builder, value)
    array.meminfo = array.parent = ir.Constant(ADDRESS, None)
    return array._getvalue()


def _run(builder: ir.IRBuilder, loop: ir.Function, parts: ir.Value, several: ir.Value, data: ir.Value) -> None:
    """Run all parts of a loop, on several threads or on this one.

    To the threads a part is an entry of an array that begins at address 0, in steps of 1: its address is its number.
    """
    numbers, dims, steps = (
        cgutils.alloca_once_value(builder, value) for value in (ir.Constant(ADDRESS, None), parts, INT(1))
    )
    with builder.if_else(several) as (on_several, on_one):
        with on_several:
            arrays, axes = 1, 0  # besides the one that is shared
            of_pool = ir.FunctionType(ir.VoidType(), [ADDRESS] * 5 + [INT] * 3)
            run = cgutils.get_or_insert_function(builder.module, of_pool, "numba_parallel_for")
            given = [builder.bitcast(pointer, ADDRESS) for pointer in (loop, numbers, dims, steps, data)]
            builder.call(run, [*given, INT(axes), INT(arrays), parts])
        with on_one:
            builder.call(loop, [numbers, dims, steps, data])
