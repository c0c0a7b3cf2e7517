"""The commands of scripts/dataset.py by their names."""

from data.commands import (
    browse,
    check,
    from_cocoa,
    from_d2sa,
    from_kitti3d,
    from_labelme,
    inmodal,
    orders,
    statistics,
    synthesise,
    to_coco,
    to_kitti_instances,
    vote,
)

COMMANDS = {
    "browse": browse,
    "check": check,
    "from-cocoa": from_cocoa,
    "from-d2sa": from_d2sa,
    "from-kitti3d": from_kitti3d,
    "from-labelme": from_labelme,
    "inmodal": inmodal,
    "orders": orders,
    "statistics": statistics,
    "synthesise": synthesise,
    "to-coco": to_coco,
    "to-kitti-instances": to_kitti_instances,
    "vote": vote,
}
