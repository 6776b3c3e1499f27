//! The pages' HTML. Everything that a plugin or an operator wrote goes through [`Escaped`].

use std::fmt::{self, Display, Write};

use toru_core::supervisor::{Health, PluginStatus, StateName};

use crate::app::PLUGIN_MOUNT;

/// Text that is safe between tags and in quoted attributes.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A whole page around its main part.
fn document(prefix: &str, title: &str, main: impl Display) -> String {
    let prefix = Escaped(prefix);
    format!(
        "<!doctype html>\n\
         <html lang=\"en\">\n\
         <head>\n\
         <meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n\
         <link rel=\"stylesheet\" href=\"{prefix}/style.css\">\n\
         </head>\n\
         <body>\n{main}</body>\n\
         </html>\n"
    )
}

/// The page that lists the plugins.
pub(super) fn plugins(prefix: &str, plugins: &[PluginStatus], instance_id: &str) -> String {
    document(prefix, "Plugins · Toru", PluginList { prefix, plugins, instance_id })
}

struct PluginList<'a> {
    prefix: &'a str,
    plugins: &'a [PluginStatus],
    instance_id: &'a str,
}

impl Display for PluginList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.plugins.iter().filter(|plugin| plugin.running).count();
        write!(
            f,
            "<header>\n<h1>Toru</h1>\n<p>{running} of {} plugins running</p>\n\
             <form method=\"post\" action=\"{}/logout\"><button>Log out</button></form>\n</header>\n<main>\n",
            self.plugins.len(),
            Escaped(self.prefix),
        )?;
        if self.plugins.is_empty() {
            f.write_str(
                "<p class=\"empty\">No plugins yet. Put a folder with a <code>plugin.toml</code> into the plugins \
                 folder and start the host again.</p>\n",
            )?;
        }
        for plugin in self.plugins {
            Card { prefix: Escaped(self.prefix), plugin }.fmt(f)?;
        }
        writeln!(f, "</main>\n<footer>Instance <code>{}</code></footer>", Escaped(self.instance_id))
    }
}

/// One plugin.
struct Card<'a> {
    prefix: Escaped<'a>,
    plugin: &'a PluginStatus,
}

impl Display for Card<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plugin = self.plugin;
        let id = Escaped(&plugin.id);
        let name = Escaped(plugin.name.as_deref().unwrap_or(&plugin.id));
        let icon = Escaped(plugin.icon.as_deref().filter(|icon| !icon.is_empty()).unwrap_or("🧩"));
        let (class, label) = badge(plugin);
        write!(
            f,
            "<article>\n<h2><span class=\"icon\" aria-hidden=\"true\">{icon}</span> {name} \
             <span class=\"badge {class}\">{label}</span></h2>\n<p class=\"facts\"><code>{id}</code>",
        )?;
        if let Some(version) = &plugin.version {
            write!(f, " · version&nbsp;{}", Escaped(version))?;
        }
        if let Some(author) = &plugin.author {
            write!(f, " · by {}", Escaped(author))?;
        }
        if let Some(pid) = plugin.pid {
            write!(f, " · pid&nbsp;{pid}")?;
        }
        if plugin.restarts > 0 {
            write!(f, " · restarts:&nbsp;{}", plugin.restarts)?;
        }
        f.write_str("</p>\n")?;
        self.reason(f)?;
        self.links(f)?;
        f.write_str("</article>\n")
    }
}

impl Card<'_> {
    fn reason(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(reason) = &self.plugin.reason else { return Ok(()) };
        writeln!(
            f,
            "<p class=\"reason\"><strong>{}</strong> {}</p>",
            Escaped(&reason.code),
            Escaped(&reason.message)
        )?;
        if let Some(at) = &self.plugin.next_retry_at {
            let (at, shown) = (Escaped(at), to_the_second(at));
            writeln!(
                f,
                "<p class=\"facts\">next try at <time datetime=\"{at}\">{} UTC</time></p>",
                Escaped(&shown)
            )?;
        }
        if let Some(tail) = &reason.stderr_tail {
            writeln!(f, "<pre>{}</pre>", Escaped(tail))?;
        }
        Ok(())
    }

    fn links(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix, plugin } = self;
        let id = Escaped(&plugin.id);
        f.write_str("<p class=\"links\">")?;
        if let Some(route) = &plugin.route {
            let route = Escaped(route);
            if plugin.running {
                write!(f, "<a href=\"{prefix}{PLUGIN_MOUNT}{route}/\">{route}</a> ")?;
            } else {
                write!(f, "<span>{route}</span> ")?;
            }
        }
        writeln!(
            f,
            "<a href=\"{prefix}/api/plugins/{id}/logs\">logs</a> <a href=\"{prefix}/api/plugins/{id}/events\">events</a></p>"
        )
    }
}

/// A time of RFC 3339 as people read it.
fn to_the_second(timestamp: &str) -> String {
    let seconds = timestamp.split(['.', 'Z']).next().unwrap_or(timestamp);
    seconds.replace('T', " ")
}

/// The badge's class and text.
fn badge(plugin: &PluginStatus) -> (&'static str, &'static str) {
    match (plugin.state, plugin.health) {
        (StateName::Failed, _) => ("bad", "failed"),
        (StateName::Backoff, _) => ("bad", "waiting to restart"),
        (StateName::Starting, _) => ("busy", "starting"),
        (StateName::Draining, _) => ("busy", "stopping"),
        (StateName::Running, Health::Healthy) => ("good", "healthy"),
        (StateName::Running, _) => ("bad", "unhealthy"),
        _ => ("off", "disabled"),
    }
}

/// The page that says how to enter.
pub(super) fn enter(prefix: &str, note: Option<&str>) -> String {
    document(prefix, "Enter · Toru", EnterPage { prefix: Escaped(prefix), note })
}

struct EnterPage<'a> {
    prefix: Escaped<'a>,
    note: Option<&'a str>,
}

impl Display for EnterPage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<header>\n<h1>Toru</h1>\n</header>\n<main class=\"enter\">\n<h2>Enter with the admin token</h2>\n")?;
        if let Some(note) = self.note {
            writeln!(f, "<p class=\"reason\" role=\"alert\">{}</p>", Escaped(note))?;
        }
        write!(
            f,
            "<form method=\"post\" action=\"{}/login\">\n\
             <label for=\"token\">Admin token</label>\n\
             <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" required autofocus>\n\
             <button>Enter</button>\n\
             </form>\n\
             <p>Or open the login link that <code>toru serve</code> printed on its terminal. The token is in \
             <code>TORU_ADMIN_TOKEN</code> where the host was started, or else in the file <code>admin-token</code> \
             of its data folder.</p>\n</main>\n",
            self.prefix
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(
            Escaped("<a href=\"x\">'&'</a>").to_string(),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;"
        );
    }

    #[test]
    fn a_time_is_shown_to_the_second() {
        assert_eq!(to_the_second("2026-01-02T03:04:05.678901234Z"), "2026-01-02 03:04:05");
        assert_eq!(to_the_second("2026-01-02T03:04:05Z"), "2026-01-02 03:04:05");
    }

    #[test]
    fn an_empty_list_says_what_to_do() {
        let page = plugins("", &[], "<instance>");
        assert!(page.contains("0 of 0 plugins running") && page.contains("plugin.toml"));
        assert!(page.contains("&lt;instance&gt;") && !page.contains("<instance>"));
    }

    #[test]
    fn the_page_that_says_how_to_enter_tells_of_a_wrong_token() {
        assert!(enter("", Some("wrong")).contains("role=\"alert\">wrong<"));
        assert!(!enter("", None).contains("role=\"alert\""));
    }
}
