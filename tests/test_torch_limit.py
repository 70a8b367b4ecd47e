"""The share of a card that torch is told as its limit."""

from __future__ import annotations

import pytest

from switchyard.runtimes.torch_cuda import share_of_card

MIB = 1 << 20


@pytest.mark.parametrize("total", [85_017_493_504, 84_929_347_584, 17_179_869_184, 25_438_126_080])
def test_a_limit_is_not_a_byte_short_once_torch_has_multiplied_it_out(total):
    short = [limit for limit in range(2, total // MIB, 2)
             if int(share_of_card(limit, total) * total) < limit * MIB]  # fmt: skip
    assert not short


def test_a_limit_above_the_card_is_the_card():
    assert share_of_card(100.0, 50 * MIB) == 1.0
