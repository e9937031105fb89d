"""Secret sharing for SecFPP: a field, codes, clustering on shares, and what is opened to whom."""

from .clusterer import Clustered as Clustered
from .described import AsDescribed as AsDescribed
from .field import M61 as M61
from .field import PrimeField as PrimeField
from .fixed_point import FixedPoint as FixedPoint
from .lagrange import LagrangeCode as LagrangeCode
from .lagrange import Shamir as Shamir
from .masks import MaskStore as MaskStore
from .masks import SeededSource as SeededSource
from .masks import SystemSource as SystemSource
from .openings import OPENINGS as OPENINGS
from .openings import Board as Board
from .openings import Opening as Opening
from .openings import opened_values as opened_values
from .rounds import Rounds as Rounds
from .session import Session as Session
from .setting import Setting as Setting
from .sound_dp import SoundDp as SoundDp
from .sound_mpc import SoundMpc as SoundMpc
