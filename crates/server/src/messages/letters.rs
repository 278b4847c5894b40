//! What mail says, in each language: a subject and a text. `{host}` is the installation, `{name}` the user
//! name, `{link}` the link, `{code}` the code, `{sign_in}` where people sign in, `{what}` what has changed.

use tegata_identity::FactorChange;

use super::Lang;

/// The mail of a language.
#[derive(Debug)]
pub(crate) struct Letters {
    pub(crate) reset: (&'static str, &'static str),
    pub(crate) sign_up: (&'static str, &'static str),
    pub(crate) has_account: (&'static str, &'static str),
    pub(crate) new_address: (&'static str, &'static str),
    pub(crate) sign_in: (&'static str, &'static str),
    pub(crate) password_changed: (&'static str, &'static str),
    pub(crate) address_changed: (&'static str, &'static str),
    pub(crate) factor_changed: (&'static str, &'static str),
    pub(crate) signed_out: (&'static str, &'static str),
    app_set_up: &'static str,
    app_replaced: &'static str,
    app_removed: &'static str,
    passkey_added: &'static str,
    passkey_removed: &'static str,
    all_removed: &'static str,
    codes_renewed: &'static str,
    code_used: &'static str,
}

impl Letters {
    /// What became of a second factor, in words.
    pub(crate) const fn change(&self, change: FactorChange) -> &'static str {
        match change {
            FactorChange::AppSetUp => self.app_set_up,
            FactorChange::AppReplaced => self.app_replaced,
            FactorChange::AppRemoved => self.app_removed,
            FactorChange::PasskeyAdded => self.passkey_added,
            FactorChange::PasskeyRemoved => self.passkey_removed,
            FactorChange::AllRemoved => self.all_removed,
            FactorChange::CodesRenewed => self.codes_renewed,
            FactorChange::CodeUsed => self.code_used,
        }
    }
}

impl Lang {
    /// Its mail.
    pub(crate) const fn letters(self) -> &'static Letters {
        match self {
            Self::En => &EN,
            Self::Ja => &JA,
        }
    }
}

static EN: Letters = Letters {
    reset: (
        "Choose a new password for {host}",
        "Somebody asked for a new password for your account {name} at {host}.\n\n\
         To choose one, follow this link within 30 minutes:\n\n{link}\n\n\
         The link works once. If you did not ask for it, do nothing: your password stays as it is.\n",
    ),
    sign_up: (
        "Your account at {host}",
        "Somebody wants to make an account of this address at {host}.\n\n\
         To go on, follow this link within 30 minutes and choose a password:\n\n{link}\n\n\
         If it was not you, do nothing: there is no account until somebody follows the link.\n",
    ),
    has_account: (
        "You have an account at {host}",
        "Somebody wants to use this address for an account at {host}, and there is an account of it \
         already. Nothing was changed.\n\n\
         If it was you, sign in here, where you can also choose a new password:\n\n{sign_in}\n",
    ),
    new_address: (
        "Confirm your address at {host}",
        "The account {name} at {host} is to have this address.\n\n\
         If that is right, follow this link within 30 minutes:\n\n{link}\n\n\
         If you know nothing of it, do nothing.\n",
    ),
    sign_in: (
        "Sign in to {host}",
        "Somebody wants to sign in to your account {name} at {host}.\n\n\
         If it is you, follow this link within 10 minutes, in the same browser:\n\n{link}\n\n\
         Or type this code where you asked for it:\n\n{code}\n\n\
         It works once. Give it to nobody. If you did not ask for it, do nothing.\n",
    ),
    password_changed: (
        "Your password at {host} was changed",
        "The password of your account {name} at {host} was changed, and everybody who was signed in to it \
         is signed out.\n\n\
         If it was not you, choose another password at once, and tell those who run the service:\n\n\
         {sign_in}\n",
    ),
    address_changed: (
        "Your address at {host} was changed",
        "Mail about the account {name} at {host} goes to another address from now on.\n\n\
         If it was not you, tell those who run the service at once.\n",
    ),
    factor_changed: (
        "How you sign in to {host} was changed",
        "How somebody signs in to your account {name} at {host} was changed:\n\n{what}\n\n\
         If it was not you, choose another password at once, and tell those who run the service:\n\n\
         {sign_in}\n",
    ),
    signed_out: (
        "You were signed out of {host} in one browser",
        "Somebody signed in to your account {name} at {host}. You can be signed in in a few browsers at \
         once, so you were signed out where you had not been for longest:\n\n{what}\n\n\
         If it was you, you can sign in there again. If it was not you, choose another password at once:\n\n\
         {sign_in}\n",
    ),
    app_set_up: "An authenticator app was set up.",
    app_replaced: "Another authenticator app took the place of the one before.",
    app_removed: "The authenticator app was turned off.",
    passkey_added: "A passkey was added.",
    passkey_removed: "A passkey was removed.",
    all_removed: "Everything that was asked for beside the password was taken away.",
    codes_renewed: "There are new recovery codes, and those of before do not count any more.",
    code_used: "A recovery code was used.",
};

static JA: Letters = Letters {
    reset: (
        "{host} の新しいパスワードの設定",
        "{host} のアカウント {name} について、新しいパスワードの設定が申し込まれました。\n\n\
         設定するには、30 分以内に次のリンクを開いてください。\n\n{link}\n\n\
         リンクは一度だけ使えます。お心当たりがない場合は、何もしないでください。パスワードは変わりません。\n",
    ),
    sign_up: (
        "{host} のアカウント登録",
        "{host} で、このメールアドレスのアカウント登録が申し込まれました。\n\n\
         続けるには、30 分以内に次のリンクを開き、パスワードを設定してください。\n\n{link}\n\n\
         お心当たりがない場合は、何もしないでください。リンクを開くまで、アカウントは作られません。\n",
    ),
    has_account: (
        "{host} にはすでにアカウントがあります",
        "{host} で、このメールアドレスをアカウントに使うことが申し込まれましたが、\
         このアドレスのアカウントはすでにあります。何も変更していません。\n\n\
         ご本人の場合は、こちらからサインインしてください。新しいパスワードの設定もできます。\n\n{sign_in}\n",
    ),
    new_address: (
        "{host} のメールアドレスの確認",
        "{host} のアカウント {name} のメールアドレスを、このアドレスにします。\n\n\
         よろしければ、30 分以内に次のリンクを開いてください。\n\n{link}\n\n\
         お心当たりがない場合は、何もしないでください。\n",
    ),
    sign_in: (
        "{host} へのサインイン",
        "{host} のアカウント {name} へのサインインが申し込まれました。\n\n\
         ご本人の場合は、10 分以内に、同じブラウザーで次のリンクを開いてください。\n\n{link}\n\n\
         または、申し込んだ画面に次のコードを入力してください。\n\n{code}\n\n\
         一度だけ使えます。誰にも教えないでください。お心当たりがない場合は、何もしないでください。\n",
    ),
    password_changed: (
        "{host} のパスワードが変更されました",
        "{host} のアカウント {name} のパスワードが変更され、すべての場所でサインアウトしました。\n\n\
         ご本人でない場合は、すぐに別のパスワードを設定し、サービスの管理者に連絡してください。\n\n{sign_in}\n",
    ),
    address_changed: (
        "{host} のメールアドレスが変更されました",
        "今後、{host} のアカウント {name} に関するメールは、別のアドレスに送られます。\n\n\
         ご本人でない場合は、すぐにサービスの管理者に連絡してください。\n",
    ),
    factor_changed: (
        "{host} のサインイン方法が変更されました",
        "{host} のアカウント {name} のサインイン方法について、次の変更がありました。\n\n{what}\n\n\
         ご本人でない場合は、すぐに別のパスワードを設定し、サービスの管理者に連絡してください。\n\n{sign_in}\n",
    ),
    signed_out: (
        "{host} で、一つのブラウザーからサインアウトしました",
        "{host} のアカウント {name} に新しいサインインがありました。\
         同時にサインインできるブラウザーの数には限りがあるため、最も長く使われていなかった次のブラウザーから\
         サインアウトしました。\n\n{what}\n\n\
         ご本人の場合は、もう一度サインインできます。\
         ご本人でない場合は、すぐに別のパスワードを設定してください。\n\n{sign_in}\n",
    ),
    app_set_up: "認証アプリが設定されました。",
    app_replaced: "認証アプリが別のものに変更されました。",
    app_removed: "認証アプリが無効になりました。",
    passkey_added: "パスキーが追加されました。",
    passkey_removed: "パスキーが削除されました。",
    all_removed: "パスワード以外の確認方法がすべて解除されました。",
    codes_renewed: "新しいリカバリーコードが作られました。以前のコードは使えません。",
    code_used: "リカバリーコードが使われました。",
};
