from tests import profiles

profiles.load(profiles.UNIT)
