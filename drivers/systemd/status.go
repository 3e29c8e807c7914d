package systemd

// report is what was told of a unit at one moment.
type report struct {
	service, listener state
	final             bool // that was the end of it
}

// status is what has become of a unit so far.
type status struct {
	notifies bool // its service says itself when it is ready
	socket   bool // a socket unit holds its listener

	served  bool    // it was ready before
	started bool    // it had a process
	running process // zero when none runs
}

// changeKind is something that became of a unit.
type changeKind int

const (
	unready  changeKind = iota // no request is to be sent to it
	ended                      // its process has
	started                    // another process runs
	answered                   // what systemd says of it, for people
	ready                      // requests may be sent to it
)

// change is what became of a unit, and how that is told.
type change struct {
	kind    changeKind
	detail  string
	process process // that has ended or started
}

// transition takes a report in and returns what it says, in the order in which it has to
// be passed on: to be unready is told before the end of a process, to be ready after its
// start.
func (s *status) transition(r report) []change {
	serving := r.service.serving(s.notifies)
	isReady := serving
	if s.socket {
		// The address accepts connections whatever becomes of the service.
		s.served = s.served || serving
		isReady = s.served && r.listener.active == "active"
	}
	isReady = isReady && !r.final
	var out []change
	if !isReady {
		out = append(out, change{kind: unready, detail: r.service.String()})
	}
	if s.running != (process{}) && (r.service.mainPID == 0 || r.service.process != s.running) {
		how := r.service.end()
		if r.service.process != s.running {
			how = "its end went unseen" // what systemd says is about a later process
		}
		out = append(out, change{kind: ended, detail: how, process: s.running})
		s.running = process{}
	}
	if r.service.mainPID != 0 && r.service.process != s.running {
		out = append(out, change{kind: started, process: r.service.process})
		s.running, s.started = r.service.process, true
	}
	out = append(out, change{kind: answered, detail: r.service.String()})
	if isReady {
		out = append(out, change{kind: ready, detail: r.service.String()})
	}
	return out
}
