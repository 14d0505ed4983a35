"""Products of matrices."""

from __future__ import annotations

from collections.abc import Sequence

from onnxviz.gradients.builder import Value
from onnxviz.gradients.step import Step
from onnxviz.gradients.table import rule


@rule("Gemm")
def gemm(step: Step) -> Sequence[Value | None]:
    """y = α·A′·B′ + β·C: Ā′ = α·g·B′ᵀ, B̄′ = α·A′ᵀ·g, C̄ = β·g summed where C was repeated."""
    a, b, g = step.input(0), step.input(1), step.g
    alpha, beta = step.attribute("alpha", 1.0), step.attribute("beta", 1.0)
    trans_a, trans_b = step.attribute("transA", 0), step.attribute("transB", 0)
    if trans_a:
        a_bar = b.op("Gemm", g, alpha=alpha, transA=trans_b, transB=1)
    else:
        a_bar = g.op("Gemm", b, alpha=alpha, transB=1 - trans_b)
    if trans_b:
        b_bar = g.op("Gemm", a, alpha=alpha, transA=1, transB=trans_a)
    else:
        b_bar = a.op("Gemm", g, alpha=alpha, transA=1 - trans_a)
    if not step.has(2) or step.stored(2) is not None:
        return a_bar, b_bar
    return a_bar, b_bar, step.unrepeated(g * beta, 2, step.dims(step.y))


@rule("MatMul")
def mat_mul(step: Step) -> Sequence[Value]:
    """Ā = g·Bᵀ, B̄ = Aᵀ·g, summed over leading axes that were repeated; vectors count as a row and a column."""
    a, b, g = step.input(0), step.input(1), step.g
    a_dims, b_dims = step.dims(a), step.dims(b)
    if len(a_dims) == 1:
        a = a.reshape([1, -1])
    if len(b_dims) == 1:
        b = b.reshape([-1, 1])
    if len(b_dims) == 1:
        g = g.op("Unsqueeze", step.builder.integers([-1]))
    if len(a_dims) == 1:
        g = g.op("Unsqueeze", step.builder.integers([-2]))
    lead = max(len(a_dims), len(b_dims), 2) - 2
    wide = step.dims(step.y)[:lead]
    a_bar, b_bar = g.op("MatMul", _turned(b, max(len(b_dims), 2))), _turned(a, max(len(a_dims), 2)).op("MatMul", g)
    return _fitted(step, a_bar, 0, wide), _fitted(step, b_bar, 1, wide)


def _turned(value: Value, rank: int) -> Value:
    return value.transpose([*range(rank - 2), rank - 1, rank - 2])


def _fitted(step: Step, value: Value, index: int, wide: Sequence[int | str | None]) -> Value:
    """The gradient of a matrix product's operand, of leading axes `wide`, in the operand's own shape."""
    dims = step.dims(step.input(index))
    if len(dims) == 1:
        rank = len(wide) + 2
        return (
            value.sum(range(len(wide))).reshape(step.shape_of(step.input(index))) if rank > 2 else value.reshape([-1])
        )
    return step.unrepeated(value, index, [*wide, *dims[-2:]])


@rule("Einsum")
def einsum(step: Step) -> Sequence[Value]:
    """Each: the same sum with g in the operand's place; indices that only it has are repeated.

    For y = einsum("ab,bc->ac", A, B): Ā = einsum("ac,bc->ab", g, B).
    """
    terms, result = _terms(step)
    gradients = []
    for index, mine in enumerate(terms):
        others = [i for i in range(len(terms)) if i != index]
        there = set(result).union(*(terms[i] for i in others)) if others else set(result)
        kept = "".join(letter for letter in mine if letter in there)
        equation = ",".join([result, *(terms[i] for i in others)]) + "->" + kept
        value = step.g.op("Einsum", *(step.input(i) for i in others), equation=equation)
        if kept != mine:
            alone = [axis for axis, letter in enumerate(mine) if letter not in there]
            value = value.op("Unsqueeze", step.builder.integers(alone)).expand(step.shape_of(step.input(index)))
        gradients.append(value)
    return gradients


def _terms(step: Step) -> tuple[list[str], str]:
    """The letters of each operand and of the result, ellipses written out."""
    equation = step.attribute("equation", "").replace(" ", "")
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    spare = [letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" if letter not in equation]
    hidden = [step.rank(step.input(i)) - len(t.replace("...", "")) for i, t in enumerate(terms)]
    most = max((count for count, term in zip(hidden, terms, strict=True) if "..." in term), default=0)
    letters = "".join(spare[:most])
    if any(count != most for count, term in zip(hidden, terms, strict=True) if "..." in term):
        step.refuse("attribute-unsupported", f"ellipses of different ranks in '{equation}' are not supported")
    if not arrow:
        once = sorted({letter for letter in left if letter.isalpha() and left.count(letter) == 1})
        result = ("..." if "..." in left else "") + "".join(once)
    terms = [term.replace("...", letters) for term in terms]
    if any(len(set(term)) < len(term) for term in terms):
        step.refuse("attribute-unsupported", f"an index that occurs twice in one operand of '{equation}'")
    sizes: dict[str, set[int | str | None]] = {}
    for index, term in enumerate(terms):
        for letter, size in zip(term, step.dims(step.input(index)), strict=True):
            sizes.setdefault(letter, set()).add(size)
    if any(1 in found and len(found) > 1 for found in sizes.values()):
        step.refuse("attribute-unsupported", f"operands of '{equation}' that are repeated along an index")
    return terms, result.replace("...", letters)
