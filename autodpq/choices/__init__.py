"""What becomes of the rows of rare values: one file a kind, and one line here (no torch).

A kind of one's own is a subclass of :class:`Kept` or :class:`Made`, announced by the entry point ``autodpq.choices`` or
named by ``file.py:Class``.
"""

from autodpq.choices.base import Arrays as Arrays
from autodpq.choices.base import Choice as Choice
from autodpq.choices.base import Cost as Cost
from autodpq.choices.base import Kept as Kept
from autodpq.choices.base import Layout as Layout
from autodpq.choices.base import Made as Made
from autodpq.choices.dpq import DPQ as DPQ
from autodpq.choices.float16 import Float16 as Float16
from autodpq.choices.full import Full as Full
from autodpq.choices.hashed import Hashed as Hashed
from autodpq.choices.integer import Int as Int
from autodpq.choices.narrow import Narrow as Narrow
from autodpq.choices.opq import OPQ as OPQ
from autodpq.choices.others import Others as Others
from autodpq.choices.registry import CHOICES as CHOICES
from autodpq.choices.registry import parse_candidates as parse_candidates
from autodpq.choices.registry import parse_choice as parse_choice
from autodpq.choices.registry import read_choice as read_choice
from autodpq.choices.registry import register as register
from autodpq.choices.unknown import Unknown as Unknown
