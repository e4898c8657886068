import numpy as np
from numpy.typing import NDArray

def index_addresses(pcs: NDArray[np.uint64], indices: NDArray[np.int32]) -> list[int]: ...
