"""What the anomaly task adds to the command line. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_sdk.export.option import TaskOptions, option


@dataclass(frozen=True, kw_only=True)
class AnomalyOptions(TaskOptions):
    """What a user states about the good parts and the threshold; every default stands here and nowhere else.

    group: how pictures of one part are known (see `Grouping`), None = each picture is taken for a part. rate:
    false-reject rate, exact ("1%"); None = 1 %, or the lowest that the held-out parts support if that is higher, which
    the record then says. confidence: as text, exact; None = the rate holds on average.
    holdout: share of the good parts that training, map quantiles and calibration never see: for the threshold.
    quantiles: share of the others kept from training for the map quantiles; the two sets never share a part.
    """

    data_name: ClassVar[str] = "FOLDER_OF_GOOD_PHOTOS"
    data_help: ClassVar[str] = "Folder of good parts, or one with train/good."
    data_needed: ClassVar[bool] = True

    group: str | None = option(
        None, help="If a part has several photos: regular expression that names the part, or TABLE.csv:COLUMN."
    )
    rate: str | None = option(
        None, kind="rate", help="Requested false-reject rate. Default: 1%, or the lowest that your pictures support."
    )
    confidence: str | None = option(None, kind="rate", help="Hold the rate with this confidence, such as 95%.")
    holdout: float = option(0.2, kind="float", help="Share of the good parts kept for the threshold.")
    quantiles: float = 0.1
