"""What each verb is going to do, as values: nothing here touches anything.

`attach` plans the ADD: the record first, then what the mover does, then the record again.
`reattach` plans how a netdev goes back into a living pod that has lost it.
`release` plans everything that returns a device: DEL, GC, healing, and the undo of a failed ADD.
`snapshot` is what a plan is made from, `refusals` has the reasons not to make one, and `recording`
and `salvage` make the records.
"""
