package main

// What `counterfoil COMMAND --help` says beyond the flags. Each has an example
// that can be pasted.

func (demoCommand) Help() string {
	return `The demonstration listens on loopback only: its passwords are known to everybody.
Open /demo/ of the public listener in a browser to watch a session and to make
things go wrong with it.

    counterfoil demo
    counterfoil demo --access-ttl 20s --grace 2s
    counterfoil demo --cors-origin http://localhost:3000
    counterfoil demo --tour`
}

func (serveCommand) Help() string {
	return `The first start makes the database and the keys, and prints a code with which
"counterfoil bootstrap" makes the first administrator.

    counterfoil config check --config counterfoil.yaml
    counterfoil serve --config counterfoil.yaml
    counterfoil serve --mode okapi-module --config counterfoil.yaml`
}

func (configCheckCommand) Help() string {
	return `The environment is checked along with the file, as "counterfoil serve" would
read it.

    counterfoil config check --config counterfoil.yaml`
}

func (configReferenceCommand) Help() string {
	return `Example:

    counterfoil config reference > configuration.md`
}

func (bootstrapCommand) Help() string {
	return `The code works once and for a day. The password is asked for, or read from
standard input; it is no argument, because arguments are for everybody to see.

    counterfoil bootstrap --code CODE --tenant diku --username admin`
}

func (tenantListCommand) Help() string {
	return `Example:

    counterfoil tenant list --json`
}

func (tenantCreateCommand) Help() string {
	return `Example:

    counterfoil tenant create diku --name "Datalogisk Institut"`
}

func (tenantDeleteCommand) Help() string {
	return `Example:

    counterfoil tenant delete diku --yes`
}

func (tenantEndCommand) Help() string {
	return `One write, however many sessions there are.

    counterfoil tenant end-sessions diku --yes`
}

func (tenantForgetCommand) Help() string {
	return `Example:

    counterfoil tenant forget diku`
}

func (userListCommand) Help() string {
	return `Example:

    counterfoil user list --tenant diku`
}

func (userCreateCommand) Help() string {
	return `Example:

    counterfoil user create --tenant diku reader --grant orders.collection.get
    counterfoil user create --tenant diku edge --grant orders.all <password.txt`
}

func (userShowCommand) Help() string {
	return `Example:

    counterfoil user show --tenant diku reader`
}

func (userPasswordCommand) Help() string {
	return `Example:

    counterfoil user password --tenant diku reader
    counterfoil user password --tenant diku reader <password.txt`
}

func (userActivateCommand) Help() string {
	return `Example:

    counterfoil user activate --tenant diku reader`
}

func (userDeactivateCommand) Help() string {
	return `Example:

    counterfoil user deactivate --tenant diku reader`
}

func (userGrantCommand) Help() string {
	return `An elevated permission has effect only in a token from /authn/elevate, for five
minutes at most.

    counterfoil user grant --tenant diku reader orders.item.post
    counterfoil user grant --tenant diku reader --elevated orders.collection.delete`
}

func (userUngrantCommand) Help() string {
	return `Example:

    counterfoil user ungrant --tenant diku reader orders.item.post`
}

func (userForgetCommand) Help() string {
	return `Example:

    counterfoil user forget --tenant diku reader`
}

func (userDeleteCommand) Help() string {
	return `Example:

    counterfoil user delete --tenant diku reader --yes`
}

func (sessionListCommand) Help() string {
	return `Example:

    counterfoil session list --live
    counterfoil session list --tenant diku --user reader`
}

func (sessionShowCommand) Help() string {
	return `Answers "why was I logged out?".

    counterfoil session show b36dea40-eab2-44c1-8cac-c9187b91343b`
}

func (sessionRevokeCommand) Help() string {
	return `The refresh token is refused from now on, and so are the access tokens of the
session, although they have not expired.

    counterfoil session revoke b36dea40-eab2-44c1-8cac-c9187b91343b
    counterfoil session revoke --tenant diku --user reader`
}

func (keyListCommand) Help() string {
	return `Example:

    counterfoil key list`
}

func (keyRotateCommand) Help() string {
	return `A new access key is published for 65 minutes before it signs, so that whoever
keeps a copy of the key set has it by then. With --now it signs at once.

    counterfoil key rotate access
    counterfoil key rotate access --algorithm ES256`
}

func (keyRetireCommand) Help() string {
	return `A new key takes its place at once.

    counterfoil key retire access KEY`
}

func (keyRemoveCommand) Help() string {
	return `Removing an access key ends access tokens: clients refresh. Removing a refresh
key ends every session that began or was refreshed with it.

    counterfoil key remove access KEY --yes`
}

func (apiKeyListCommand) Help() string {
	return `Last use is known to a minute, for as long as the key's session is kept.

    counterfoil api-key list --tenant diku`
}

func (apiKeyCreateCommand) Help() string {
	return `The key stands for a user, may call the routes that you name, and has those of
the user's permissions that you name. It goes into the Authorization header:
"Authorization: apikey KEY".

    counterfoil api-key create --tenant diku --user gobi "GOBI orders" \
        --route "POST /gobi/orders" --route "* /gobi/validate" --permission gobi.all --expires 365d`
}

func (apiKeyImportCommand) Help() string {
	return `The partner goes on with the key that it has. The key names its tenant and user,
which must exist here; it is read from standard input, because arguments are for
everybody to see.

    counterfoil api-key import "GOBI orders" --route "POST /gobi/orders" <key.txt`
}

func (apiKeyScopeCommand) Help() string {
	return `What is not named is taken away, expiry too.

    counterfoil api-key scope 0b7a6b0c-6a4f-4a3c-9a6e-0f3f6f0f9d52 --route "GET /gobi/*" --permission gobi.all`
}

func (apiKeyRotateCommand) Help() string {
	return `Two secrets hold at once, not more: another rotation ends the oldest. The new one
is Counterfoil's own also where the key was imported, and is taken from the
Authorization header only.

    counterfoil api-key rotate 0b7a6b0c-6a4f-4a3c-9a6e-0f3f6f0f9d52
    counterfoil api-key rotate 0b7a6b0c-6a4f-4a3c-9a6e-0f3f6f0f9d52 --overlap 0s`
}

func (apiKeyRevokeCommand) Help() string {
	return `The next request with the key is refused, on every node, and its session ends.

    counterfoil api-key revoke 0b7a6b0c-6a4f-4a3c-9a6e-0f3f6f0f9d52 --yes`
}

func (apiKeyResumeCommand) Help() string {
	return `Whoever ends the session of a key stops the key; this lets it in again.

    counterfoil api-key resume 0b7a6b0c-6a4f-4a3c-9a6e-0f3f6f0f9d52`
}

func (apiKeyDeleteCommand) Help() string {
	return `What it did stays in the audit log.

    counterfoil api-key delete 0b7a6b0c-6a4f-4a3c-9a6e-0f3f6f0f9d52`
}

func (clientSecretCommand) Help() string {
	return `The secret goes to standard output, for the client; what of it is kept goes to
standard error, for oauth.clients in the configuration. Nothing is stored by this
command. To change a secret, put the new hash in place of the old one and restart.

    counterfoil client secret
    counterfoil client secret --json`
}

func (policyListCommand) Help() string {
	return `Example:

    counterfoil policy list`
}

func (policyShowCommand) Help() string {
	return `Example:

    counterfoil policy show --tenant diku
    counterfoil policy show --tenant diku --client folio-web`
}

func (policySetCommand) Help() string {
	return `Other fields of the override stay. What would be unsafe is refused with the
reason; access tokens that live already keep their lifetime or get a shorter one.

    counterfoil policy set --tenant diku access_ttl=5m grace=5s
    counterfoil policy set --tenant diku --client folio-web sessions_per_user=10
    counterfoil policy set --tenant diku 'step_up={"orders.item.delete":{"max_age":"5m"}}'`
}

func (policyUnsetCommand) Help() string {
	return `Example:

    counterfoil policy unset --tenant diku grace
    counterfoil policy unset --tenant diku --client folio-web`
}

func (curlCommand) Help() string {
	return `Log in once; the password is asked for and kept nowhere. Then name paths at the
gateway, with any of curl's options, and think of no token:

    counterfoil curl --url https://folio.example.org/okapi --tenant diku --user reader
    counterfoil curl '/users?limit=1'
    counterfoil curl -X POST --json @order.json /orders
    counterfoil curl --url https://folio.example.org/okapi --tenant diku --device screen
    counterfoil curl --logout

With --device no password is typed here: the command shows a code, and somebody
lets it in on a page of the gateway, on a machine with a browser. The client must
be registered with the grant for devices.

Flags of counterfoil come first: from the first word that is none of them, all is
curl's. With sessions of several users, tenants or gateways say each time whose,
by flags or by COUNTERFOIL_URL, COUNTERFOIL_TENANT and COUNTERFOIL_USER. A session
is a file of mode 0600 in $XDG_STATE_HOME/counterfoil/curl, by default below
~/.local/state, and as good as the password until it ends. Any number of
processes may use it at once.

The token goes to the gateway alone: a URL elsewhere is refused, and so are
--config, --location-trusted and --user. It is in no argument and in no
environment variable, but curl's -v and --trace show it. SSL_CERT_FILE names
other certificate authorities to both.`
}

func (drillCommand) Help() string {
	return `Makes a tenant of its own in the running program, plays in it what operators
hope never to see, says which control answered and how fast, and deletes the
tenant. What stays is the record: events, ended sessions for keep_ended, and the
number of a removed key. Exits with 0 if all held. Nobody else's session is touched, unless
--remove-active-key is given. Alarms that it raises are real: whoever watches
the metrics should see them.

A restored database cannot be played on a live one; the operators' documents say
how to try that on a copy.

    counterfoil drill --config counterfoil.yaml
    counterfoil drill --config counterfoil.yaml --node http://10.0.0.2:9130 --json`
}

func (storeCopyCommand) Help() string {
	return `Everything goes along: tenants, users, permissions, policies, modules, keys,
sessions and events. Who is logged in stays logged in. Stop all programs on the
source first; start them on the target with the same master key.

The copy is one transaction: it is whole, and was compared, or there is none.
Passwords are no arguments, because those are for everybody to see: set
DB_PASSWORD, or postgres.password_file in a configuration.

    counterfoil store copy --from sqlite:data/counterfoil.db --to postgres://counterfoil@db.example.org/counterfoil
    counterfoil store copy --from postgres://counterfoil@db.example.org/counterfoil --to sqlite:copy/counterfoil.db`
}

func (migrateCommand) Help() string {
	return `"counterfoil serve" does the same at its start. There is no way back: make a copy
of the data directory before.

    counterfoil migrate --config counterfoil.yaml`
}

func (versionCommand) Help() string {
	return `Example:

    counterfoil version --json`
}
