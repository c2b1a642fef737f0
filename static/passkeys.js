/* Passkeys: asks the browser for one, or to make one, and takes what it says to the panel. Without this script a page does without
   them. The panel checks everything; nothing here is trusted. */
(() => {
  "use strict";
  if (!window.PublicKeyCredential || !navigator.credentials) return;

  const bytes = (text) => {
    const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, (c) => c.charCodeAt(0));
  };
  const text = (buffer) => {
    const plain = String.fromCharCode(...new Uint8Array(buffer));
    return btoa(plain).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  };
  const known = (list) => (list || []).map((each) => ({ ...each, id: bytes(each.id) }));

  const post = async (path, body) => {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json" },
      body: JSON.stringify(body),
    });
    const said = await answer.json().catch(() => ({}));
    if (answer.ok) return said;
    const messages = Object.values(said.errors || {});
    throw new Error(messages[0] || said.detail || "The panel did not answer. Try again.");
  };

  const make = async (name) => {
    const { id, options } = await post("/account/passkeys/begin", {});
    const asked = options.publicKey;
    const credential = await navigator.credentials.create({
      publicKey: {
        ...asked,
        challenge: bytes(asked.challenge),
        user: { ...asked.user, id: bytes(asked.user.id) },
        excludeCredentials: known(asked.excludeCredentials),
      },
    });
    const { response } = credential;
    return post("/account/passkeys", {
      id,
      name,
      credential: {
        id: credential.id,
        rawId: text(credential.rawId),
        type: credential.type,
        extensions: {},
        response: {
          attestationObject: text(response.attestationObject),
          clientDataJSON: text(response.clientDataJSON),
          transports: response.getTransports ? response.getTransports() : undefined,
        },
      },
    });
  };

  const use = async (step, next) => {
    const { id, options } = await post("/auth/passkey/begin", { step });
    const asked = options.publicKey;
    const credential = await navigator.credentials.get({
      publicKey: { ...asked, challenge: bytes(asked.challenge), allowCredentials: known(asked.allowCredentials) },
    });
    const { response } = credential;
    return post("/auth/passkey", {
      step,
      id,
      next,
      credential: {
        id: credential.id,
        rawId: text(credential.rawId),
        type: credential.type,
        extensions: {},
        response: {
          authenticatorData: text(response.authenticatorData),
          clientDataJSON: text(response.clientDataJSON),
          signature: text(response.signature),
          userHandle: response.userHandle ? text(response.userHandle) : null,
        },
      },
    });
  };

  const click = async (button) => {
    const error = button.closest(".passkey").querySelector(".error");
    error.hidden = true;
    button.disabled = true;
    try {
      const { passkey, next, name } = button.dataset;
      const done = passkey === "add" ? await make(document.getElementById(name).value) : await use(passkey, next || "");
      location.assign(done.next);
    } catch (problem) {
      const given_up = problem instanceof DOMException;
      error.textContent = given_up ? "No passkey was used. Try again, or take another way." : problem.message;
      error.hidden = false;
      button.disabled = false;
    }
  };

  for (const button of document.querySelectorAll("[data-passkey]")) {
    button.closest(".passkey").hidden = false;
    button.addEventListener("click", () => click(button));
  }
})();
