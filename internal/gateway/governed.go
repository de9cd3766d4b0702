package gateway

// longestGoverned is longer than any name in the tables of this file.
const longestGoverned = 32

// fold writes a header name as the most lenient reader sees it: lower case,
// and a dash for everything that is no letter or digit. Only the beginning of
// a longer name is kept; that is enough for prefixes, and no whole name in the
// tables is as long as the buffer.
func fold(name string, buf *[longestGoverned]byte) []byte {
	n := min(len(name), longestGoverned)
	for i := range n {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		default:
			c = '-'
		}
		buf[i] = c
	}
	return buf[:n]
}

func hasPrefix(folded []byte, prefix string) bool {
	return len(folded) >= len(prefix) && string(folded[:len(prefix)]) == prefix
}

// isGoverned says that a header is the gateway's own, or one for a single
// connection, in requests and responses alike: those of RFC 9110 section
// 7.6.1, those that older proxies treat so, and everything X-Okapi-.
func isGoverned(folded []byte) bool {
	switch string(folded) {
	case "connection", "keep-alive", "te", "trailer", "trailers", "transfer-encoding", "upgrade",
		"http2-settings", // with Upgrade: h2c, a tunnel past the gateway
		"x-okapi",
		"proxy": // HTTP_PROXY to a CGI program
		return true
	}
	return hasPrefix(folded, "x-okapi-") || hasPrefix(folded, "proxy-")
}

// isAlias says that a name is not Content-Length but may be read as it, and
// then frame the body otherwise than the gateway did.
func isAlias(name string, folded []byte) bool {
	return string(folded) == "content-length" && name != "Content-Length"
}

// clientHeaders are further headers by which clients could claim what only a
// proxy may say: their address, certificate or name, the address that they
// asked for, another method. Authorization and DPoP are here because the token was
// read and the module gets its own.
var clientHeaders = map[string]struct{}{
	"authorization": {}, "dpop": {}, "dpop-nonce": {},

	"forwarded": {}, "client-ip": {}, "true-client-ip": {}, "x-real-ip": {}, "x-client-ip": {},
	"x-cluster-client-ip": {}, "x-remote-ip": {}, "x-remote-addr": {}, "remote-addr": {},
	"cf-connecting-ip": {}, "cf-connecting-ipv6": {}, "cf-pseudo-ipv4": {}, "fastly-client-ip": {},
	"x-azure-clientip": {}, "x-azure-socketip": {}, "x-appengine-user-ip": {}, "x-proxyuser-ip": {},

	"remote-user": {}, "x-remote-user": {}, "client-cert": {}, "x-arr-clientcert": {}, "x-arr-ssl": {},
	"x-client-verify": {}, "x-client-dn": {},

	"x-host": {}, "x-scheme": {}, "x-url-scheme": {}, "front-end-https": {}, "x-http-host-override": {},
	"x-original-url": {}, "x-original-uri": {}, "x-original-host": {}, "x-original-proto": {},
	"x-original-for": {}, "x-original-forwarded-for": {}, "x-original-remote-addr": {},
	"x-rewrite-url": {}, "x-rewrite-uri": {},

	"x-http-method": {}, "x-http-method-override": {}, "x-method-override": {}, "x-original-method": {},
}

// clientPrefixes are families of the same, whose members nobody can list.
var clientPrefixes = [...]string{
	"x-forwarded", "x-envoy-", "wl-proxy-",
	"client-cert-", "x-client-cert", "ssl-client-", "x-ssl-", "x-tls-", "x-amzn-mtls-",
}

// fromClient says that a request header claims what clients cannot claim.
func fromClient(folded []byte) bool {
	if _, ok := clientHeaders[string(folded)]; ok {
		return true
	}
	for _, prefix := range clientPrefixes {
		if hasPrefix(folded, prefix) {
			return true
		}
	}
	return false
}
