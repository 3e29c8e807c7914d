package systemd

import (
	"context"
	"fmt"
	"os"
	"strconv"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

const (
	unitInterface    = "org.freedesktop.systemd1.Unit"
	managerInterface = "org.freedesktop.systemd1.Manager"
	changedSignal    = "org.freedesktop.DBus.Properties.PropertiesChanged"
	removedSignal    = managerInterface + ".UnitRemoved"
	unitPaths        = "/org/freedesktop/systemd1/unit"
)

// link is one connection to a systemd: calls go one way, signals come another, so that
// neither waits for the other.
type link struct {
	calls *systemd.Conn
	// signals come in the order in which systemd sent them. The channel is closed when
	// the connection breaks or is closed.
	signals  chan *dbus.Signal
	listener *dbus.Conn
}

// dial connects to a bus as the user that this process runs as.
func dial(address string, options ...dbus.ConnOption) (*dbus.Conn, error) {
	conn, err := dbus.Dial(address, options...)
	if err != nil {
		return nil, err
	}
	// The number and not the name: a static program cannot look that up everywhere.
	err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Getuid()))})
	if err == nil {
		err = conn.Hello()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// call connects for calls alone.
func call(address string) (*systemd.Conn, error) {
	return systemd.NewConnection(func() (*dbus.Conn, error) { return dial(address) })
}

// connect connects for calls and signals.
func connect(ctx context.Context, address string) (*link, error) {
	calls, err := call(address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	// Not by way of the library's own subscription: that passes on what the unit's common
	// interface says, but a status text is a property of services. And in order: its
	// signals may overtake each other.
	listener, err := dial(address, dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		calls.Close()
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	l := &link{calls: calls, signals: make(chan *dbus.Signal, 64), listener: listener}
	listener.Signal(l.signals)
	err = listener.AddMatchSignalContext(ctx,
		dbus.WithMatchInterface("org.freedesktop.DBus.Properties"), dbus.WithMatchMember("PropertiesChanged"),
		dbus.WithMatchPathNamespace(unitPaths))
	if err == nil {
		err = listener.AddMatchSignalContext(ctx, dbus.WithMatchInterface(managerInterface), dbus.WithMatchMember("UnitRemoved"))
	}
	if err == nil {
		err = listener.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1").
			CallWithContext(ctx, managerInterface+".Subscribe", 0).Err
	}
	if err != nil {
		l.close()
		return nil, fmt.Errorf("subscribe at %s: %w", address, err)
	}
	return l, nil
}

func (l *link) close() {
	l.calls.Close()
	l.listener.Close()
	for range l.signals { // the library waits until nobody holds a signal back
		continue
	}
}

// unitPath is where a unit is on the bus.
func unitPath(name string) dbus.ObjectPath {
	return dbus.ObjectPath(unitPaths + "/" + systemd.PathBusEscape(name))
}

// read reads all that systemd knows of a unit. Of one that does not exist it says so in
// the load state.
func (l *link) read(ctx context.Context, name string) (state, error) {
	all, err := l.calls.GetAllPropertiesContext(ctx, name)
	if err != nil {
		return state{}, fmt.Errorf("read unit %s: %w", name, err)
	}
	changed := make(map[string]dbus.Variant, len(all))
	for name, value := range all {
		changed[name] = dbus.MakeVariant(value)
	}
	return state{}.with(changed), nil
}
