package pgtest

// Start starts a server for measurements, which have no test to end with. It is
// always a server of its own.
func Start() (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	return start(bin)
}

// URL is that of a database of the server, whether it exists or not.
func (s *Server) URL(database string) string {
	own := *s.url
	own.Path = "/" + database
	return own.String()
}

// PID is that of the first of its processes, whose children are all others.
func (s *Server) PID() int { return s.command.Process.Pid }

// Stop ends the server and removes what it kept.
func (s *Server) Stop() { s.stop() }
