//! A filter for proxies: it refuses requests for some paths, and gives those that go on, and their answers,
//! a header.
//!
//! Configured by JSON such as `{"header": "x-greeting", "value": "hello", "refuse": ["/private"]}`. With
//! anything else it does not start, which the proxy tells before it takes the configuration.

mod settings;

use std::rc::Rc;

use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::{Action, ContextType, LogLevel},
};

use settings::Settings;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

/// What is there once, and makes a context for each request.
#[derive(Default)]
struct Root {
    settings: Rc<Settings>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        match Settings::read(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(settings) => {
                self.settings = Rc::new(settings);
                true
            }
            Err(problem) => {
                log(LogLevel::Error, &problem);
                false
            }
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(OneRequest { settings: Rc::clone(&self.settings) }))
    }
}

struct OneRequest {
    settings: Rc<Settings>,
}

impl Context for OneRequest {}

impl HttpContext for OneRequest {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let path = self.get_http_request_header(":path").unwrap_or_default();
        if self.settings.refuses(&path) {
            self.send_http_response(403, Vec::new(), Some(b"this path is private\n"));
            return Action::Pause;
        }
        self.set_http_request_header(&self.settings.header, Some(&self.settings.value));
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        self.set_http_response_header(&self.settings.header, Some(&self.settings.value));
        Action::Continue
    }
}

fn log(level: LogLevel, text: &str) {
    // Where nothing can be logged, nobody can be told.
    let _ = proxy_wasm::hostcalls::log(level, text);
}
