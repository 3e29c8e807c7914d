package systemd

// Through puts something before the bus of every systemd that the driver connects to from
// now on: it is given an address and returns another.
func (d *Driver) Through(through func(address string) (string, error)) { d.through = through }

// ProgramInside is where a host in a container has the driver's program.
const ProgramInside = programInside
