# A real mail server for the tests, aiosmtpd, which puts what it is given into a folder; the tests start it themselves, each on a folder
# and a port of its own. Sourced.

smtp_server() {
  packages "for the mail server of the tests" python3-aiosmtpd || return 1
  ROOST_TEST_SMTP=$(command -v aiosmtpd) || return 1
  export ROOST_TEST_SMTP
}
