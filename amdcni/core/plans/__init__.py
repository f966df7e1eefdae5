"""What each verb is going to do, as values: nothing here touches anything.

`attach` plans the ADD: the record first, then what the mover does, then the record again.
`release` plans everything that gives a device back, be it DEL, GC, healing, or the undo of an ADD
that failed.  `snapshot` is what a plan is made from, `refusals` are the reasons not to make one,
and `recording` and `salvage` make the records.
"""
