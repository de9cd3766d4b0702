// Package client keeps a session with a FOLIO gateway alive, so that a program
// sends its requests and thinks of no token:
//
//	session := &client.Session{
//		BaseURL: "https://folio.example.org/okapi",
//		Tenant:  "diku",
//		Login:   client.Password{Username: "reader", Password: password},
//	}
//	orders, err := session.Client().Get("https://folio.example.org/okapi/orders")
//
// [Session.Client] is an [http.Client]; [Transport] is for programs that have
// one of their own, and [Session.Token] for whatever is not HTTP.
//
// # What it does
//
// The session logs in with the first request. When about four fifths of an
// access token's life are over, it gets the next one, while requests go on with
// the old; when the gateway says that a token has ended, it gets one and sends
// the request again. Two hundred goroutines at that moment make one refresh.
// The server's clock is what counts, so a wrong one here does no harm.
//
// A request is sent again only if the gateway refused it before anybody served
// it, and only if its body can be read again: [http.NewRequest] sees to that
// for buffers and strings, and others set GetBody. If it cannot, the error is
// [*NotReplayable]. Whatever a module answers is the program's own.
//
// A server that is busy or restarts is asked again for half a minute; a caller
// whose context ends sooner leaves, and others get what the refresh brings.
//
// # When it fails
//
// There are two errors, for [errors.As]. [*RefreshUnavailable]: nobody could be
// asked; the session may be alive; try again later. [*SessionEnded]: it is over,
// for the Reason that it names, and another one could not be begun. With a
// Login that happens only if the server refuses the credentials. Then the
// server is left alone for half a minute and more, lest it lock the account.
//
// # How to log in
//
// [Password] is for Counterfoil. [FOLIOPassword] is for any FOLIO, where tokens
// travel in cookies. [ClientCredentials] is for programs that act for no user,
// at servers that know OAuth. [Session.LogInDevice] is for programs whose user
// logs in elsewhere. A refresh token that was got elsewhere goes into
// Session.RefreshToken. [Login] is open for more.
//
// A password need not be in the program: [SecretStore] gets it at each login
// from a file, the environment, a HashiCorp Vault or FOLIO's secure store, and
// the module client/ssm from AWS.
//
// Whoever has an API key needs no session: [APIKey] sends it along.
//
// # Several processes, and the next run
//
// With a [FileStore], sessions outlive the program, and processes that name the
// same file share one session: a lock beside the file lets one of them refresh
// and shows the others the result. Two processes that use one refresh token
// without a common Store take the session from each other: for the server, one
// of them is a thief.
//
// A program that ends calls [Session.Settle] before, lest it miss the answer to a
// renewal under way.
//
// Tokens in the file are as good as the password until the session ends.
// [Session.Logout] ends it.
//
// # Plain FOLIO
//
// mod-authtoken ends all sessions of a user when it sees a refresh token for
// the second time. So there a refresh token is presented once. If the answer
// gets lost, the session logs in anew, or ends with [ReasonLost].
//
// # Tests
//
// Package clienttest is a gateway for tests, whose clock the test moves.
package client
