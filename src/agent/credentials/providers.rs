//! Which variables hold the key of which provider, by opencode's names for them.

/// A provider's id and the variables its key may be in. What opens more than a model (cloud accounts,
/// code hosts) is not here: whoever wants that names the variable with `--env`.
const KEYS: &[(&str, &[&str])] = &[
    ("alibaba", &["DASHSCOPE_API_KEY"]),
    ("anthropic", &["ANTHROPIC_API_KEY"]),
    ("azure", &["AZURE_API_KEY", "AZURE_RESOURCE_NAME"]),
    ("baseten", &["BASETEN_API_KEY"]),
    ("cerebras", &["CEREBRAS_API_KEY"]),
    ("cohere", &["COHERE_API_KEY"]),
    ("deepinfra", &["DEEPINFRA_API_KEY"]),
    ("deepseek", &["DEEPSEEK_API_KEY"]),
    ("fireworks-ai", &["FIREWORKS_API_KEY"]),
    ("google", &["GOOGLE_GENERATIVE_AI_API_KEY", "GEMINI_API_KEY"]),
    ("groq", &["GROQ_API_KEY"]),
    ("minimax", &["MINIMAX_API_KEY"]),
    ("mistral", &["MISTRAL_API_KEY"]),
    ("moonshotai", &["MOONSHOT_API_KEY"]),
    ("nvidia", &["NVIDIA_API_KEY"]),
    ("openai", &["OPENAI_API_KEY"]),
    ("opencode", &["OPENCODE_API_KEY"]),
    ("openrouter", &["OPENROUTER_API_KEY"]),
    ("perplexity", &["PERPLEXITY_API_KEY"]),
    ("poe", &["POE_API_KEY"]),
    ("togetherai", &["TOGETHER_API_KEY"]),
    ("vercel", &["AI_GATEWAY_API_KEY"]),
    ("xai", &["XAI_API_KEY"]),
    ("zai", &["ZHIPU_API_KEY"]),
    ("zai-coding-plan", &["ZHIPU_API_KEY"]),
    ("zhipuai", &["ZHIPU_API_KEY"]),
];

/// The variables of one provider, or of all of them; each once.
pub(super) fn variables(provider: Option<&str>) -> Vec<&'static str> {
    let wanted = KEYS.iter().filter(|(id, _)| provider.is_none_or(|p| p == *id));
    let mut names: Vec<&str> = wanted.flat_map(|(_, names)| names.iter().copied()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The provider a variable belongs to.
pub(super) fn of_variable(name: &str) -> Option<&'static str> {
    KEYS.iter().find(|(_, names)| names.contains(&name)).map(|(id, _)| *id)
}
