"""The tools of `scripts/dataset.py` by the names of their commands."""

from data.browse import command as browse
from data.check import command as check
from data.cocoa import command as from_cocoa
from data.d2sa import command as from_d2sa
from data.exports import command_coco as to_coco
from data.exports import command_kitti_instances as to_kitti_instances
from data.kitti3d import command as from_kitti3d
from data.labelme import command as from_labelme
from data.orders import command as orders
from data.orders import command_inmodal as inmodal
from data.statistics import command as statistics
from data.synthetic import command as synthesise
from data.vote import command as vote

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
