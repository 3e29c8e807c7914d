// Package systemd is the driver on a real systemd: every instance is a transient unit of
// its own, driven over D-Bus, and requests reach the subject through a balancer that
// believes what systemd says of the unit. It writes no unit file, asks no service how it
// is, and is no service manager itself.
//
// # Which systemd
//
// The user's own manager where there is one, else the system's as root, else one in a
// container, whose PID 1 is systemd and whose bus is reached through a socket in a folder
// that both see. That container shares the network of its host and has no right to
// configure it: instances listen on 127.0.0.1 as they do everywhere else, a port that
// nobody listens on refuses, and nothing stands between the balancer and an instance. A
// published port would do neither, because the engine's proxy accepts for whoever is not
// there.
//
// # What is ready
//
// A unit of Type=exec is ready while it is active, which it is as soon as its program
// runs: systemd asks nobody, so Service.Signal is never used. With Service.Notify it is of
// Type=notify, active from READY=1 on. READY=1 cannot be taken back; a service that wants
// no requests for now says so in its status text, of which the part before the first
// colon or semicolon counts: "not ready" and "draining" are not routed to, anything else
// is. Deactivating is not ready at once.
//
// With Service.Socket a socket unit holds the listener of the first port. From the first
// time that the service was ready on, the instance is ready as long as that socket is
// active, because the address accepts connections whatever becomes of the service.
//
// # Faults
//
// kill and pause are SIGKILL and SIGSTOP to all processes of a unit; systemd takes no notice of the
// second, but a watchdog does. They are proven by what systemd tells of the end of the main
// process, and by its state in the process file system. The unit of a dependency that is stopped
// is gone until it is made again, as it was. cpu is a CPUQuota of the running unit, which its
// next process has too; it takes a systemd that has the cpu controller.
//
// # Leaving nothing behind
//
// Units outlive the lab. Their names carry the run and their descriptions the lab's
// process, and so do the labels of a container, by which Sweep finds them. The image that
// is built for such a container is a cache and stays.
package systemd

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/ports"
)

// The hosts of Config.
const (
	HostUser      = "user"      // the user's own service manager
	HostSystem    = "system"    // the system's, as root
	HostContainer = "container" // one in a container, on a Docker engine of this machine
)

// Config says which systemd runs the services, and what they are.
type Config struct {
	// Program is the binary that runs services without an Exec of their own, "" means
	// this process's. In a container it must be a static one for Linux; where it is not
	// it is built again from Package.
	Program string
	// Args stand before a Service's own.
	Args []string
	// Package is the main package of Program, as go build takes it, and Dir the folder to
	// build it in; "" means that it cannot be built again.
	Package, Dir string

	// Host is HostUser, HostSystem, HostContainer, or "" for the first of them that is
	// there.
	Host string
	// Image has systemd as its default command, for HostContainer. "" means one of the
	// driver's own, which is built when it is needed for the first time.
	Image string
	// Packages are Debian packages that an image of the driver's own has beside systemd.
	Packages []string

	// StartTimeout is how long a service that notifies may take until it is ready, before
	// systemd ends it; 0 means DefaultStartTimeout.
	StartTimeout time.Duration
}

// DefaultStartTimeout is what systemd gives a unit by default.
const DefaultStartTimeout = 90 * time.Second

// Driver implements drivers.Driver. Its methods may be called concurrently.
type Driver struct {
	config Config
	ports  *ports.Pool
	// through is put before the address of every bus, by a test that cuts connections.
	through func(address string) (string, error)

	building sync.Mutex // one build of a program or an image at a time
	running  drivers.Running
}

// New returns a driver that runs services as Config says.
func New(config Config) *Driver {
	if config.StartTimeout == 0 {
		config.StartTimeout = DefaultStartTimeout
	}
	config.Args, config.Packages = slices.Clone(config.Args), slices.Clone(config.Packages)
	return &Driver{
		config: config, ports: ports.New(),
		through: func(address string) (string, error) { return address, nil },
	}
}

var _ drivers.Driver = (*Driver)(nil)

const driverName = "systemd"

// Name implements drivers.Driver.
func (d *Driver) Name() string { return driverName }

// Capabilities implements drivers.Capable.
func (d *Driver) Capabilities() drivers.Capabilities {
	return drivers.Capabilities{
		LabBalancer: true,
		Routing:     "The balancer follows systemd over D-Bus and asks nobody: an instance is in while its unit is active and its own status text does not decline, and out as soon as either changes, as when the unit begins to stop.",
	}
}

// Version implements drivers.Versioner: it says which systemd answers, "" when none does. It changes nothing, so of a
// container that would have to be started first it knows the image alone.
func (d *Driver) Version(ctx context.Context) string {
	c, err := d.choose(ctx)
	if err != nil {
		return ""
	}
	defer c.close()
	return c.version
}
